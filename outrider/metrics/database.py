"""Facts of a database server, read from outside: is it there, how full, how busy.

A look costs one connection for one statement, and gives up after two seconds: a server that hangs
must not hang the tick. No connection is kept, so that a collector never holds a slot a bot needs.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from outrider.errors import BadArgument
from outrider.store.connection import without_password

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 2
PREFIX = "db.server."
DOWN: Mapping[str, float] = {f"{PREFIX}up": 0.0}
# psycopg 3 is the driver we are tested with; SQLAlchemy 2.0 would look for psycopg2.
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
# Connections are counted by what every role may see. The server hides the state of other roles'
# sessions: without pg_monitor, "active" and the longest transaction are of our own role.
_POSTGRESQL = sa.text("""
WITH clients AS (
  SELECT pid, state, xact_start FROM pg_stat_activity
  WHERE datid IS NOT NULL AND usesysid IS NOT NULL
    AND coalesce(backend_type, 'client backend') = 'client backend'
), others AS (
  SELECT state, xact_start FROM clients WHERE pid <> pg_backend_pid()
), kept AS (
  SELECT * FROM pg_stat_database WHERE datname = current_database()
)
SELECT
  (SELECT count(*) FROM clients) AS "connections.used",
  current_setting('max_connections')::int AS "connections.max",
  (SELECT count(*) FROM clients)::float / current_setting('max_connections')::int
    AS "connections.used_ratio",
  (SELECT count(*) FROM others WHERE state = 'active') AS "connections.active",
  (SELECT count(*) FROM others WHERE state LIKE 'idle in transaction%')
    AS "connections.idle_in_transaction",
  (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0) FROM others)
    AS longest_transaction_s,
  (SELECT xact_commit FROM kept) AS commits_total,
  (SELECT xact_rollback FROM kept) AS rollbacks_total,
  (SELECT blks_hit::float / nullif(blks_hit + blks_read, 0) FROM kept) AS cache_hit_ratio
""")


def collect(database: sa.Engine | sa.URL | str) -> dict[str, float]:
    """Return the server's facts as series; ``{"db.server.up": 0.0}`` when it does not answer.

    Asks PostgreSQL and SQLite; of another database, only whether it is up. Blocks for a few
    seconds at most when given a URL; when given an engine, as long as its own timeouts allow.

    Raises:
        BadArgument: the URL can't be used, or its driver is missing.
    """
    engine = database if isinstance(database, sa.Engine) else observer(database)
    read = _READERS.get(engine.dialect.name, _only_up)
    try:
        facts = read(engine)
    except (sa.exc.SQLAlchemyError, OSError):
        return dict(DOWN)
    up = {"up": 1.0, **facts}
    return {PREFIX + name: float(value) for name, value in up.items() if value is not None}


def observer(url: sa.URL | str) -> sa.Engine:
    """Return an engine for short looks: no pool, no transactions, and two seconds' patience.

    Raises:
        BadArgument: the URL can't be used, or its driver is missing.
    """
    return _observer(parse(url))


@functools.lru_cache(maxsize=16)
def _observer(url: sa.URL) -> sa.Engine:
    connect_args: dict[str, Any] = {}
    if is_libpq(url):
        connect_args = {
            "connect_timeout": TIMEOUT_S,
            "application_name": "outrider",
            "options": f"-c statement_timeout={TIMEOUT_S * 1000}",
        }
    return create(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=connect_args)


def parse(url: sa.URL | str) -> sa.URL:
    """Return a checked URL whose driver is named.

    >>> parse("postgresql://bot@db/fleet").drivername
    'postgresql+psycopg'

    Raises:
        BadArgument: it is not a database URL.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise BadArgument(
            f"{without_password(str(url))!r} is not a database URL; "
            "write it like postgresql://user:password@host:5432/name or sqlite:///file.db."
        ) from None
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def is_libpq(url: sa.URL) -> bool:
    """Tell whether the driver takes libpq's options, such as ``connect_timeout``."""
    return url.drivername in {"postgresql+psycopg", "postgresql+psycopg2"}


def create(url: sa.URL, **options: Any) -> sa.Engine:
    """Return ``sqlalchemy.create_engine(url, **options)``, with errors that name the remedy.

    Raises:
        BadArgument: the database is unknown to SQLAlchemy, its driver is missing or needs asyncio.
    """
    try:
        if url.get_dialect().is_async:
            raise BadArgument(
                f"{url.drivername} needs asyncio and this engine blocks; "
                f"write the URL with {url.get_backend_name()}:// instead."
            )
        return sa.create_engine(url, **options)
    except sa.exc.NoSuchModuleError:
        raise BadArgument(
            f"SQLAlchemy knows no database {url.drivername!r}; use postgresql:// or sqlite:///, "
            "or install the package that brings it."
        ) from None
    except ImportError as error:
        package = error.name or url.get_driver_name()
        remedy = "outrider[postgresql]" if package == "psycopg" else package
        raise BadArgument(
            f"the driver of {url.drivername}:// can't be imported ({error}); "
            f"install it: pip install '{remedy}'."
        ) from None


def _postgresql(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {**connection.execute(_POSTGRESQL).mappings().one()}


def _sqlite(engine: sa.Engine) -> dict[str, Any]:
    path = engine.url.database
    in_file = path and path != ":memory:" and not path.startswith("file:")
    # To connect would make the file, and a database that was never there would look well.
    size = {"file_bytes": Path(path).stat().st_size} if path and in_file else {}
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return {**size, "pages": pages}


def _only_up(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        connection.execute(sa.select(1))
    return {}


_READERS = {"postgresql": _postgresql, "sqlite": _sqlite}
