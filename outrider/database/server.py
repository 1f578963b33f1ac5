"""What a database server allows, asked from itself."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from outrider.database import remedies
from outrider.errors import BadArgument, OutriderError
from outrider.metrics import database as reach

_POSTGRESQL = sa.text("""
SELECT
  current_setting('server_version') AS version,
  current_setting('max_connections')::int AS max_connections,
  current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser
""")


class DatabaseUnavailable(OutriderError):  # noqa: N818 - reads as the message it is
    """The database does not answer at its address; start it, or mend ``[database] url``."""

    permanent = False
    retry_after_s: float | None = 2.0


class DatabaseRefused(DatabaseUnavailable):
    """The database answers and refuses us, and will again; mend ``[database] url`` or the role."""

    permanent = True
    retry_after_s = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server's own word. ``reserved`` of its ``max_connections`` are not for ordinary roles.

    A database in a file has no limit: ``max_connections`` is None there.
    """

    kind: str
    version: str
    max_connections: int | None = None
    reserved: int = 0
    superuser: bool = False


def ask(database: sa.Engine | sa.URL | str) -> Server:
    """Return what the server says of itself. Blocks for a few seconds at most, given a URL.

    Raises:
        DatabaseUnavailable: it does not answer, or refuses us; the text has its words.
        BadArgument: the URL can't be used, or is neither PostgreSQL's nor SQLite's.
    """
    engine = database if isinstance(database, sa.Engine) else reach.observer(database)
    kind = engine.dialect.name
    if kind not in {"postgresql", "sqlite"}:
        raise BadArgument(
            f"{kind} can't be asked for its limits; set [database] max_connections instead."
        )
    try:
        with engine.connect() as connection:
            if kind == "sqlite":
                version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
                return Server(kind, str(version))
            return Server(kind, **connection.execute(_POSTGRESQL).mappings().one())
    except sa.exc.SQLAlchemyError as error:
        if remedies.is_refusal(error):
            raise DatabaseRefused(
                f"the database at {shown(engine.url)} refuses us ({first_line(error)});"
                f" {remedies.of(str(error))}"
            ) from None
        raise DatabaseUnavailable(
            f"the database at {shown(engine.url)} does not answer ({first_line(error)}); "
            "start it, or mend [database] url."
        ) from None


def shown(url: sa.URL) -> str:
    """Return an address that may be shown: where it is, without user and password.

    >>> shown(sa.make_url("postgresql://bot:secret@db:5432/fleet"))
    'postgresql://db:5432/fleet'
    """
    host = url.host or url.query.get("host") or ""
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{host}{port}/{url.database or ''}"


def first_line(error: Exception) -> str:
    """Return what a driver said, without SQLAlchemy's additions."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
