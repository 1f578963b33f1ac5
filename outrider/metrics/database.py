"""Facts of a database server, read from outside: is it there, how full, how busy.

A look costs one connection for a few statements, and each gives up after two seconds: a server
that hangs must not hang the tick. No connection is kept, so that a collector never holds a slot
that a bot needs.
"""

from __future__ import annotations

import contextlib
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from outrider.errors import BadArgument
from outrider.metrics import postgresql
from outrider.store.connection import without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

    # What is asked at each look, and what is dear.
    _Facts = tuple[Mapping[str, Any], Mapping[str, Any]]

TIMEOUT_S = 2
DEAR_EVERY_S = 60.0
PREFIX = "db.server."
DOWN: Mapping[str, float] = {f"{PREFIX}up": 0.0}
# psycopg 3 is the driver we are tested with; SQLAlchemy 2.0 would look for psycopg2.
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class DatabaseCollector:
    """Collects from one database. What is dear is asked once a minute and repeated until then."""

    def __init__(self, database: sa.Engine | sa.URL | str) -> None:
        self._database = database
        self._dear: dict[str, float] = {}
        self._dear_at_s = -math.inf

    def collect(self, now_s: float) -> dict[str, float]:
        """Return the server's facts as series; ``{"db.server.up": 0.0}`` when it does not answer.

        Asks PostgreSQL and SQLite; of another database, only whether it is up. Blocks for a few
        seconds at most when given a URL; when given an engine, as long as its own timeouts allow.

        Raises:
            BadArgument: the URL can't be used, or its driver is missing.
        """
        given = self._database
        engine = given if isinstance(given, sa.Engine) else observer(given)
        read = _READERS.get(engine.dialect.name, _only_up)
        is_due = now_s - self._dear_at_s >= DEAR_EVERY_S
        try:
            facts, dear = read(engine, is_due)
        except (sa.exc.SQLAlchemyError, OSError):
            return dict(DOWN)
        if is_due:
            self._dear, self._dear_at_s = _series(dear), now_s
        return _series({"up": 1.0, **facts}) | self._dear


def collect(database: sa.Engine | sa.URL | str) -> dict[str, float]:
    """Return all facts at once, as :class:`DatabaseCollector` does at its first look."""
    return DatabaseCollector(database).collect(0.0)


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
    with _remedied(url):
        if url.get_dialect().is_async:
            raise BadArgument(
                f"{url.drivername} needs asyncio and this engine blocks; "
                f"write the URL with {url.get_backend_name()}:// instead, or use"
                " create_async_engine."
            )
        return sa.create_engine(url, **options)


def create_async(url: sa.URL, **options: Any) -> AsyncEngine:
    """Return ``sqlalchemy.ext.asyncio.create_async_engine(url, **options)``; see :func:`create`.

    Raises:
        BadArgument: the database is unknown to SQLAlchemy, its driver is missing or blocks.
    """
    with _remedied(url):
        from sqlalchemy.ext.asyncio import create_async_engine

        try:
            return create_async_engine(url, **options)
        except sa.exc.InvalidRequestError:
            raise BadArgument(
                f"{url.drivername} blocks and this engine needs asyncio; write the URL with"
                " postgresql:// (psycopg 3), postgresql+asyncpg:// or sqlite+aiosqlite://."
            ) from None


@contextlib.contextmanager
def _remedied(url: sa.URL) -> Iterator[None]:
    try:
        yield
    except sa.exc.NoSuchModuleError:
        raise BadArgument(
            f"SQLAlchemy knows no database {url.drivername!r}; use postgresql:// or sqlite:///, "
            "or install the package that brings it."
        ) from None
    except ImportError as error:
        package = error.name or url.get_driver_name()
        remedy = _EXTRAS.get(package, package)
        raise BadArgument(
            f"the driver of {url.drivername}:// can't be imported ({error}); "
            f"install it: pip install '{remedy}'."
        ) from None


_EXTRAS = {
    "psycopg": "outrider[postgresql]",
    **dict.fromkeys(("asyncpg", "aiosqlite", "greenlet"), "outrider[asyncio]"),
}


def _series(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return facts by the names of their series; what is not known is left out, noise rounded."""
    values = {}
    for name, value in facts.items():
        if value is not None:
            digits = 5 if name.endswith("_ratio") else 3
            values[PREFIX + name] = round(float(value), digits)
    return values


def _postgresql(engine: sa.Engine, dear: bool) -> _Facts:  # noqa: FBT001 - of all readers
    with engine.connect() as connection:
        facts = postgresql.read(connection)
        return facts, postgresql.read_dear(connection) if dear else {}


def _sqlite(engine: sa.Engine, _dear: bool) -> _Facts:  # noqa: FBT001 - of all readers
    path = engine.url.database
    in_file = path and path != ":memory:" and not path.startswith("file:")
    # To connect would make the file, and a database that was never there would look well.
    size = {"file_bytes": Path(path).stat().st_size} if path and in_file else {}
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return {**size, "pages": pages}, {}


def _only_up(engine: sa.Engine, _dear: bool) -> _Facts:  # noqa: FBT001 - of all readers
    with engine.connect() as connection:
        connection.execute(sa.select(1))
    return {}, {}


_READERS: Mapping[str, Callable[[sa.Engine, bool], _Facts]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
}
