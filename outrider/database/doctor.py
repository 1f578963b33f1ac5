"""Looks for what will hurt a fleet on its database server; each finding with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider import units
from outrider.database import fleet, server_advice
from outrider.database import server as servers
from outrider.errors import OutriderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.database.server import Server
    from outrider.settings import Settings

IDLE_IN_TRANSACTION_S = 60.0
LONG_TRANSACTION_S = 300.0
# The server stops taking writes at 2^31; autovacuum forces itself through from 0.2e9.
XID_WARNING, XID_CRITICAL = 400_000_000, 1_200_000_000
_SLOT_BYTES = 1 << 30
_POOLERS = ("pgbouncer", "pgcat", "odyssey", "supavisor", "pgpool")
_LOOKS = 6

_SESSIONS = sa.text("""
SELECT coalesce(nullif(application_name, ''), usename::text, '?') AS who, count(*) AS count
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1 ORDER BY 2 DESC
""")
_OPEN = sa.text("""
SELECT pid, coalesce(nullif(application_name, ''), usename::text, '?') AS who, state,
  extract(epoch FROM clock_timestamp() - xact_start) AS since_s,
  extract(epoch FROM clock_timestamp() - state_change) AS idle_s
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start
""")
_SUPERUSERS = sa.text("""
SELECT DISTINCT usename::text || ' (' || coalesce(nullif(application_name, ''), '?') || ')'
FROM pg_stat_activity JOIN pg_roles ON rolname = usename
WHERE rolsuper AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1
""")
_XID = sa.text("""
SELECT datname, age(datfrozenxid) AS age FROM pg_database ORDER BY 2 DESC LIMIT 1
""")
_PREPARED = sa.text("""
SELECT gid, extract(epoch FROM clock_timestamp() - prepared) AS age_s FROM pg_prepared_xacts
ORDER BY prepared LIMIT 1
""")
_SLOTS = sa.text("""
SELECT slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bytes
FROM pg_replication_slots WHERE NOT active AND NOT pg_is_in_recovery()
ORDER BY 2 DESC NULLS LAST LIMIT 1
""")
_EXTENSIONS = sa.text("""
SELECT name, installed_version IS NOT NULL AS made FROM pg_available_extensions
WHERE name IN ('pg_stat_statements', 'hypopg')
""")
_PRELOADED = sa.text(
    "SELECT current_setting('pg_stat_statements.track', true) IS NOT NULL AS loaded"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One look: ``state`` is ``ok``, ``warning`` or ``failed``."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def examine(settings: Settings, engine: sa.Engine) -> list[Check]:
    """Return every finding about the server and the fleet on it. Blocks for some seconds at most.

    A server that does not answer, or is too old, is a finding, and then the last.
    """
    try:
        server = servers.ask(engine)
        with engine.connect() as connection:
            server_advice.facts(connection)
    except OutriderError as error:
        return [Check("server", "failed", str(error))]
    except sa.exc.SQLAlchemyError as error:
        return [Check("server", "failed", servers.first_line(error), "Start it, or mend the URL.")]
    found = [Check("server", "ok", f"PostgreSQL {server.version} at {servers.shown(engine.url)}")]
    found += _fleet(settings, server)
    with engine.connect() as connection:
        for look in (
            _role, _connections, _transactions, _wraparound, _left_over, _extensions, _pooler,
        ):  # fmt: skip
            found += _looked(look, connection, settings, server)
    return found


def _looked(
    look: Callable[..., Iterator[Check]],
    connection: sa.Connection,
    settings: Settings,
    server: Server,
) -> list[Check]:
    try:
        return list(look(connection, settings, server))
    except sa.exc.SQLAlchemyError as error:
        name = look.__name__.strip("_").replace("_", " ")
        return [Check(name, "warning", f"can't be seen: {servers.first_line(error)}")]


def _role(connection: sa.Connection, _settings: Settings, server: Server) -> Iterator[Check]:
    others = connection.execute(_SUPERUSERS).scalars().all()
    remedy = (
        "CREATE ROLE bot LOGIN PASSWORD '...'; GRANT what it needs. Superusers take the connections"
        " that the server keeps for repair, and nothing holds them back."
    )
    if server.superuser:
        yield Check("role", "failed", "[database] url is a superuser's", remedy)
    else:
        yield Check("role", "ok", "an ordinary role")
    if others:
        yield Check("superusers", "failed", f"connected as one: {', '.join(others)}", remedy)


def _fleet(settings: Settings, server: Server) -> Iterator[Check]:
    try:
        planned = fleet.plan(settings, server)
    except OutriderError as error:
        yield Check("pools", "failed", str(error))
        return
    if planned is None:
        return
    detail = f"the plan has {planned.total} of {planned.wall} connections: {planned.server.words()}"
    yield Check("pools", "ok", detail)


def _connections(connection: sa.Connection, settings: Settings, server: Server) -> Iterator[Check]:
    """All sessions against the limit, and poolers, whose sum counts as well."""
    who = {str(row["who"]): int(row["count"]) for row in connection.execute(_SESSIONS).mappings()}
    total, limit = sum(who.values()), (server.max_connections or 0) - server.reserved
    most = ", ".join(f"{name} {count}" for name, count in list(who.items())[:5])
    state = "failed" if total >= 0.9 * limit else "warning" if total >= 0.7 * limit else "ok"
    yield Check(
        "connections", state, f"{total} open of {limit} for ordinary roles ({most or 'nobody'})",
        "" if state == "ok" else "Find who holds them; size all pools together: outrider db plan.",
    )  # fmt: skip
    poolers = {
        name: count for name, count in who.items() if any(each in name.lower() for each in _POOLERS)
    }
    if poolers:
        told = ", ".join(f"{name} {count}" for name, count in poolers.items())
        yield Check(
            "poolers", "warning", f"others hold connections of this server: {told}",
            "Count the most they may open (max_db_connections) in [database] reserved, now"
            f" {settings.database.reserved}: the sum of all of them must fit.",
        )  # fmt: skip


def _transactions(
    connection: sa.Connection, _settings: Settings, _server: Server
) -> Iterator[Check]:
    rows = connection.execute(_OPEN).mappings().all()
    idle = [
        row for row in rows
        if str(row["state"]).startswith("idle in transaction")
        and float(row["idle_s"] or 0) > IDLE_IN_TRANSACTION_S
    ]  # fmt: skip
    long_ = [row for row in rows if float(row["since_s"]) > LONG_TRANSACTION_S]
    yield Check(
        "idle in transaction", "failed" if idle else "ok", _named(idle, "idle_s"),
        "It keeps locks and a connection: end the transaction before calling others; set"
        " idle_in_transaction_session_timeout." if idle else "",
    )  # fmt: skip
    yield Check(
        "long transactions", "warning" if long_ else "ok", _named(long_, "since_s"),
        "Vacuum can't remove what they may see: SELECT pg_cancel_backend(PID)." if long_ else "",
    )  # fmt: skip


def _named(rows: list[Any], since: str) -> str:
    return (
        ", ".join(
            f"{row['who']} (pid {row['pid']}) for {units.show_duration(round(float(row[since])))}"
            for row in rows[:5]
        )
        or "none"
    )


def _wraparound(connection: sa.Connection, _settings: Settings, _server: Server) -> Iterator[Check]:
    row = connection.execute(_XID).mappings().one()
    age = int(row["age"])
    state = "failed" if age >= XID_CRITICAL else "warning" if age >= XID_WARNING else "ok"
    yield Check(
        "wraparound", state, f"oldest transaction of {row['datname']} is {age:,} old",
        "" if state == "ok" else "Find what holds vacuum back (long transactions, slots), then"
        " VACUUM FREEZE that database.",
    )  # fmt: skip


def _left_over(connection: sa.Connection, _settings: Settings, _server: Server) -> Iterator[Check]:
    """What nobody ends by itself: prepared transactions, slots that nobody reads."""
    prepared = connection.execute(_PREPARED).mappings().one_or_none()
    if prepared and float(prepared["age_s"]) > LONG_TRANSACTION_S:
        yield Check(
            "prepared transactions", "failed", f"{prepared['gid']} waits for its second phase",
            f"ROLLBACK PREPARED '{prepared['gid']}' if nobody will finish it.",
        )  # fmt: skip
    slot = connection.execute(_SLOTS).mappings().one_or_none()
    if slot and int(slot["bytes"] or 0) > _SLOT_BYTES:
        yield Check(
            "replication slots", "failed",
            f"{slot['slot_name']} keeps {int(slot['bytes']) >> 20} MiB of log for nobody",
            f"SELECT pg_drop_replication_slot('{slot['slot_name']}') if its reader is gone.",
        )  # fmt: skip


def _extensions(connection: sa.Connection, _settings: Settings, _server: Server) -> Iterator[Check]:
    made = {row.name: row.made for row in connection.execute(_EXTENSIONS)}
    loaded = bool(connection.execute(_PRELOADED).scalar())
    if made.get("pg_stat_statements") and loaded:
        yield Check("pg_stat_statements", "ok", "installed and loaded")
    else:
        yield Check(
            "pg_stat_statements", "warning",
            "slow queries are known from the bots only" if "pg_stat_statements" in made
            else "this server does not have it (Debian: postgresql-contrib)",
            "shared_preload_libraries = 'pg_stat_statements', restart,"
            " CREATE EXTENSION pg_stat_statements.",
        )  # fmt: skip
    if not made.get("hypopg"):
        yield Check(
            "hypopg", "warning", "an index can't be tried without building it",
            "CREATE EXTENSION hypopg." if "hypopg" in made
            else "Install HypoPG where your host has it; not needed.",
        )  # fmt: skip


def _pooler(connection: sa.Connection, _settings: Settings, _server: Server) -> Iterator[Check]:
    """Whether something stands between: the server's pid is not the one told at login."""
    driver: Any = connection.connection.driver_connection
    told = getattr(getattr(driver, "info", None), "backend_pid", None)
    pids = {connection.execute(sa.text("SELECT pg_backend_pid()")).scalar() for _ in range(_LOOKS)}
    if told is None or pids == {told}:
        yield Check("pooler between", "ok", "none")
        return
    survive = _prepared_survive(driver)
    yield Check(
        "pooler between", "ok" if survive else "failed",
        "a pooler stands between us and the server"
        + ("; prepared statements work" if survive else "; prepared statements break"),
        "" if survive else "PgBouncer 1.21+ with max_prepared_statements > 0, or engines with"
        " connect_args={'prepare_threshold': None}.",
    )  # fmt: skip


def _prepared_survive(driver: Any) -> bool:
    import psycopg

    try:
        for _ in range(_LOOKS):
            driver.execute("SELECT 1 AS outrider_doctor", prepare=True)
    except psycopg.Error:
        return False
    return True
