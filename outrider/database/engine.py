"""Engines as bots get them: a preset, a bounded pool, limits kept by the server itself.

Whatever SQLAlchemy takes may be passed, and wins. Limits on statements, locks and idle
transactions are sent with the connection, so that they hold however a session is used. A forked
child drops the pool it inherited, since a connection can't be shared by two processes.
"""

from __future__ import annotations

import logging
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from outrider.database import budget, lease, tally
from outrider.database.presets import DEVELOPMENT
from outrider.database.resizable import ResizablePool
from outrider.errors import BadArgument
from outrider.metrics import database as reach

if TYPE_CHECKING:
    from sqlalchemy.pool import Pool

    from outrider.database.presets import Preset

logger = logging.getLogger(__name__)

# A bot that can't connect in this time says so, rather than hang at its start.
CONNECT_TIMEOUT_S = 10
# A firewall that drops idle connections in silence is noticed after 30 + 3 x 10 s.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# PostgreSQL keeps 63 bytes of a name; nine of them say which process it is.
_LONGEST_NAME = 54
# A child must not close what its parent uses; kept here, nothing is collected.
_INHERITED: list[Pool] = []


@dataclass(frozen=True, slots=True)
class Leased:
    """Where a pool's connections are leased, and how many it has without a lease."""

    redis_url: str
    floor: int


def create_engine(
    url: sa.URL | str,
    preset: Preset = DEVELOPMENT,
    *,
    application_name: str | None = None,
    planned_size: int | None = None,
    leased: Leased | None = None,
    **options: Any,
) -> sa.Engine:
    """Return an engine that connects as ``preset`` says; ``options`` win over it.

    ``planned_size`` is this process's part in the fleet's plan; ``leased`` that it leases its
    connections, which only a PostgreSQL's can be. Does not connect yet.

    Raises:
        BadArgument: the URL, its driver or an option can't be used.
    """
    parsed, given = reach.parse(url), dict(options)
    if given.get("pool_size") == 0:
        raise BadArgument(
            "pool_size = 0 means no bound to SQLAlchemy, and no server has that many connections;"
            " give 1 or more, or poolclass=NullPool to keep none open."
        )
    name = application_name or preset.application_name
    if parsed.get_backend_name() != "postgresql" or "application_name" in parsed.query:
        leased = None
    instance, name = name, _traceable(name) if leased else name
    given["connect_args"] = _connect_args(parsed, preset, name, given.get("connect_args", {}))
    engine = reach.create(parsed, **_pool_options(parsed, preset, planned_size, given), **given)
    tally.attach(engine)
    if isinstance(engine.pool, ResizablePool):
        engine.pool.watcher = tally.Watch()
    if engine.dialect.name == "postgresql":
        sa.event.listen(engine, "connect", _warn_of_superuser, once=True)
    elif engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
    if leased and isinstance(engine.pool, ResizablePool):
        _lease(engine, engine.pool, leased, instance=instance, application=name)
    elif planned_size is not None:
        _warn_above_plan(engine, planned_size)
    return engine


def _traceable(name: str) -> str:
    """Return an application_name that the server's list of sessions has once, for this process."""
    return f"{name[:_LONGEST_NAME]}:{budget.tag_of(budget.process_name())}"


def _lease(
    engine: sa.Engine, pool: ResizablePool, leased: Leased, *, instance: str, application: str
) -> None:
    server = budget.server_of(engine.url)
    second = any(holder.server == server for holder in lease.holders())
    if second:
        logger.warning(
            "this process makes a second engine for %s: it has no floor, and stands still while"
            " Redis is away; share one engine.", server,
        )  # fmt: skip
    holder = lease.Leaseholder(
        engine,
        redis_url=leased.redis_url,
        server=server,
        instance=f"{instance}+engine" if second else instance,
        application=application,
        floor=0 if second else leased.floor,
    )
    watch = pool.watcher
    assert isinstance(watch, tally.Watch)
    watch.lease = holder
    holder.start()


def _pool_options(
    url: sa.URL, preset: Preset, planned_size: int | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Return the options of the pool that were not given, if it is a pool that takes them."""
    if "pool" in given:
        return {}
    chosen = given.get("poolclass") or _default_pool(url)
    if not issubclass(chosen, QueuePool):
        return {} if "poolclass" in given else {"poolclass": chosen}
    spread = preset.recycle_jitter_ratio * random.uniform(-1, 1)  # noqa: S311 - no secret
    ours = {
        "poolclass": chosen,
        "pool_size": planned_size or preset.pool_size,
        "max_overflow": preset.max_overflow,
        "pool_timeout": preset.pool_timeout_s,
        "pool_recycle": round(preset.recycle_s * (1 + spread)),
        "pool_pre_ping": preset.pre_ping,
        "pool_use_lifo": preset.use_lifo,
    }
    if issubclass(chosen, ResizablePool):
        del ours["pool_pre_ping"]  # it sees for itself which connections are dead
    return {name: value for name, value in ours.items() if name not in given}


def _default_pool(url: sa.URL) -> type[Pool]:
    """Return our pool wherever SQLAlchemy would queue; SQLite in memory has a way of its own."""
    try:
        dialect: Any = url.get_dialect()  # its class methods are missing from the types
        usual: type[Pool] = dialect.get_pool_class(url)
    except sa.exc.NoSuchModuleError:  # told with its remedy when the engine is made
        return QueuePool
    return ResizablePool if usual is QueuePool else usual


def _connect_args(url: sa.URL, preset: Preset, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the driver's arguments: ours where neither the URL nor the caller says otherwise."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": preset.lock_timeout_s, **given}
    if not reach.is_libpq(url):
        return given
    said = {**url.query, **given}
    ours = {"application_name": name, "connect_timeout": CONNECT_TIMEOUT_S, **_KEEPALIVES}
    return {
        **{key: value for key, value in ours.items() if key not in said},
        **given,
        "options": _server_options(preset, said.get("options")),
    }


def _server_options(preset: Preset, given: Any) -> str:
    """Return the settings of a session; later ones win, and an empty text asks for none."""
    if given == "":
        return ""
    limits = {
        "statement_timeout": preset.statement_timeout_s,
        "lock_timeout": preset.lock_timeout_s,
        "idle_in_transaction_session_timeout": preset.idle_in_transaction_timeout_s,
    }
    ours = [f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items()]
    return " ".join([*ours, *([str(given)] if given else [])])


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    import sqlite3

    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    try:
        # Readers go on while one writes. Kept in the file, so that one success is enough.
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        logger.debug("SQLite keeps its old journal for now: %s", error)
    cursor.close()


def _warn_of_superuser(connection: Any, _record: Any) -> None:
    """Name a bot that connects as superuser. The server said so at login; nothing is asked."""
    if superuser(connection):
        logger.warning(
            "this bot connects as a PostgreSQL superuser: it can take the connections reserved for"
            " repair, and nothing holds it back; make a role for it:"
            " CREATE ROLE bot LOGIN PASSWORD '...'; GRANT ... TO bot."
        )


def superuser(connection: Any) -> bool:
    """Tell whether a driver's connection is a superuser's, as far as the server told."""
    if hasattr(connection, "info") and hasattr(connection.info, "parameter_status"):
        status = connection.info.parameter_status("is_superuser")
    elif hasattr(connection, "get_parameter_status"):  # psycopg2
        status = connection.get_parameter_status("is_superuser")
    else:
        status = None
    return bool(status == "on")


def _warn_above_plan(engine: sa.Engine, planned: int) -> None:
    """Name what breaks the plan: a larger pool, or a second engine on the same server."""
    pools = [
        other.pool
        for other in tally.engines()
        if isinstance(other.pool, QueuePool) and _server(other.url) == _server(engine.url)
    ]
    together = sum(tally.capacity(pool) for pool in pools)
    if together > planned:
        logger.warning(
            "%d engine(s) of this process can open %s connections to one server, where the fleet's"
            " plan has %d: share one engine, or leave out pool_size and max_overflow.",
            len(pools), f"{together:g}", planned,
        )  # fmt: skip


def _server(url: sa.URL) -> tuple[Any, ...]:
    in_file = url.database if url.get_backend_name() == "sqlite" else None
    return url.get_backend_name(), url.host, url.port, url.query.get("host"), in_file


def _in_child() -> None:
    for engine in tally.engines():
        if isinstance(engine.pool, QueuePool):
            _INHERITED.append(engine.pool)
            engine.dispose(close=False)
    tally.TALLY.reset()
    lease.after_fork()


os.register_at_fork(after_in_child=_in_child)
