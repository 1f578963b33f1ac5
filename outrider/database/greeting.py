"""What is looked at when a connection opens: whose it is, how old the server is, what is between.

The server says all of it when it greets a client, so nothing is asked, but for one statement on the
first connection of an engine: a pooler in between gives its clients process ids of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from outrider.errors import OutriderError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from outrider.database.presets import Preset

logger = logging.getLogger(__name__)

# What we ask of a server has these names since then; older ones get no repairs either.
OLDEST = 13
# Where PgBouncer and Supavisor listen when nobody says otherwise.
POOLER_PORTS = frozenset({6432, 6543})
_SUPERUSER = (
    "this bot connects as a PostgreSQL superuser: it can take the connections reserved for repair,"
    " and nothing holds it back; make a role for it:"
    " CREATE ROLE bot LOGIN PASSWORD '...'; GRANT ... TO bot."
)


class UnfitServer(OutriderError):  # noqa: N818 - reads as the message it is
    """The server answers, and a bot should not work with it so; the text says what to change."""


class Greeting:
    """Looks at the connections of one engine; a listener of SQLAlchemy's ``connect`` event.

    Raises UnfitServer there, so at the first use of the engine.
    """

    def __init__(self, preset: Preset, *, behind_pooler: bool) -> None:
        self._preset = preset
        self.behind_pooler = behind_pooler
        self._asked = self._warned = False

    def __call__(self, connection: Any, _record: Any) -> None:
        """Look at a connection that was just opened."""
        driver = getattr(connection, "driver_connection", connection)
        version = version_of(driver)
        if version is not None and version < OLDEST:
            raise UnfitServer(
                f"the server is PostgreSQL {version}; {OLDEST} or newer is needed: upgrade it"
                " (https://www.postgresql.org/support/versioning)."
            )
        if superuser(driver):
            if self._preset.superuser == "refused":
                raise UnfitServer(f"{_SUPERUSER} (Only the development preset lets it pass.)")
            if not self._warned:
                self._warned = True
                logger.warning(_SUPERUSER)
        if not self._asked:
            self._asked = True
            self._ask(connection, driver)
        if self.behind_pooler:
            if hasattr(driver, "prepare_threshold"):
                driver.prepare_threshold = None
        elif hasattr(driver, "prepared_max"):
            driver.prepared_max = self._preset.prepared_most

    def _ask(self, connection: Any, driver: Any) -> None:
        told = pid_of(driver)
        if told is None or self.behind_pooler:
            return
        cursor = connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()[0]
        cursor.close()
        connection.rollback()
        if own == told:
            return
        if hasattr(driver, "prepare_threshold"):
            self.behind_pooler = True
            logger.info("a pooler stands before the database: statements are not prepared.")
        else:
            logger.warning(
                "a pooler stands before the database, and prepared statements of one client meet"
                " another's there: say create_async_engine(..., behind_pooler=True)."
            )


def superuser(connection: Any) -> bool:
    """Tell whether a driver's connection is a superuser's, as far as the server told."""
    if hasattr(connection, "info") and hasattr(connection.info, "parameter_status"):
        status = connection.info.parameter_status("is_superuser")
    elif hasattr(connection, "get_parameter_status"):  # psycopg2
        status = connection.get_parameter_status("is_superuser")
    elif hasattr(connection, "get_settings"):  # asyncpg
        status = getattr(connection.get_settings(), "is_superuser", None)
    else:
        status = None
    return bool(status == "on")


def version_of(connection: Any) -> int | None:
    """Return the major version of the server, as far as the driver says."""
    if hasattr(connection, "info") and hasattr(connection.info, "server_version"):
        return int(connection.info.server_version) // 10000
    if hasattr(connection, "get_server_version"):  # asyncpg
        return int(connection.get_server_version().major)
    return None


def pid_of(connection: Any) -> int | None:
    """Return the process id that the greeting told."""
    if hasattr(connection, "info") and hasattr(connection.info, "backend_pid"):
        return int(connection.info.backend_pid)
    if hasattr(connection, "get_server_pid"):  # asyncpg
        return int(connection.get_server_pid())
    return None


def looks_pooled(url: sa.URL) -> bool:
    """Tell whether an address is where poolers usually listen."""
    return (url.port or 0) in POOLER_PORTS
