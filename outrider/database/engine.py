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
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from outrider.database import budget, drivers, lease, remedies, tally
from outrider.database.greeting import Greeting, looks_pooled
from outrider.database.presets import DEVELOPMENT, READ_ISOLATION
from outrider.database.resizable import AsyncResizablePool, ResizablePool
from outrider.errors import BadArgument
from outrider.metrics import database as reach

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import Pool

    from outrider.database.presets import Preset

logger = logging.getLogger(__name__)

# PostgreSQL keeps 63 bytes of a name; nine of them say which process it is.
_LONGEST_NAME = 54
# A child must not close what its parent uses; kept here, nothing is collected.
_INHERITED: list[Pool] = []
_Engine = TypeVar("_Engine", "sa.Engine", "AsyncEngine")


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
    behind_pooler: bool | None = None,
    **options: Any,
) -> sa.Engine:
    """Return an engine that connects as ``preset`` says; ``options`` win over it.

    ``planned_size`` is this process's part in the fleet's plan; ``leased`` that it leases its
    connections, which only a PostgreSQL's can be. ``behind_pooler``: a pooler stands before the
    server; None: find out. Does not connect yet.

    Raises:
        BadArgument: the URL, its driver or an option can't be used.
    """
    parsed = reach.parse(url)
    asked = _Asked(parsed, preset, application_name, planned_size, leased, behind_pooler)
    engine = reach.create(parsed, **asked.options(options))
    asked.furnish(engine)
    return engine


def create_async_engine(
    url: sa.URL | str,
    preset: Preset = DEVELOPMENT,
    *,
    application_name: str | None = None,
    planned_size: int | None = None,
    leased: Leased | None = None,
    behind_pooler: bool | None = None,
    **options: Any,
) -> AsyncEngine:
    """Do as :func:`create_engine` for asyncio: psycopg 3, asyncpg, or aiosqlite.

    Raises:
        BadArgument: as there.
    """
    parsed = reach.parse(url)
    if parsed.drivername == "sqlite":
        parsed = parsed.set(drivername="sqlite+aiosqlite")
    asked = _Asked(parsed, preset, application_name, planned_size, leased, behind_pooler, True)
    engine = reach.create_async(parsed, **asked.options(options))
    asked.furnish(engine.sync_engine)
    return engine


def for_reads(engine: _Engine) -> _Engine:
    """Return the same engine for work that only reads: no BEGIN and ROLLBACK around each use.

    That saves two round trips, so that a short read takes half the time. Each statement then sees
    the state of its own moment.
    """
    return engine.execution_options(isolation_level=READ_ISOLATION)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an engine was asked to be, and what that means for SQLAlchemy and the driver."""

    url: sa.URL
    preset: Preset
    application_name: str | None
    planned_size: int | None
    leased: Leased | None
    behind_pooler: bool | None
    asynchronous: bool = False

    @property
    def is_leased(self) -> bool:
        return bool(
            self.leased
            and self.url.get_backend_name() == "postgresql"
            and "application_name" not in self.url.query
        )

    @property
    def is_pooled(self) -> bool:
        said = self.behind_pooler
        return looks_pooled(self.url) if said is None else said

    @property
    def instance(self) -> str:
        return self.application_name or self.preset.application_name

    def application(self) -> str:
        return _traceable(self.instance) if self.is_leased else self.instance

    def options(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what SQLAlchemy is given."""
        if given.get("pool_size") == 0:
            raise BadArgument(
                "pool_size = 0 means no bound to SQLAlchemy, and no server has that many"
                " connections; give 1 or more, or poolclass=NullPool to keep none open."
            )
        connect_args = drivers.connect_args(
            self.url, self.preset, self.application(), given.get("connect_args", {}),
            behind_pooler=self.is_pooled,
        )  # fmt: skip
        pool = _pool_options(
            self.url, self.preset, self.planned_size, given, asynchronous=self.asynchronous
        )
        return {**pool, **given, "connect_args": connect_args}

    def furnish(self, engine: sa.Engine) -> None:
        """Count what it does, look at its connections, and lease them."""
        pool = engine.pool
        tally.attach(engine)
        if isinstance(pool, ResizablePool):
            pool.watcher = tally.Watch(asynchronous=self.asynchronous)
            pool.ping_after_s = self.preset.ping_after_s
        if engine.dialect.name == "postgresql":
            greeting = Greeting(self.preset, behind_pooler=self.is_pooled)
            sa.event.listen(engine, "connect", greeting)
        elif engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "handle_error", remedies.note)
        if self.leased and self.is_leased and isinstance(pool, ResizablePool):
            application = self.application()
            _lease(engine, pool, self.leased, instance=self.instance, application=application)
        elif self.planned_size is not None:
            _warn_above_plan(engine, self.planned_size)


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
    url: sa.URL,
    preset: Preset,
    planned_size: int | None,
    given: dict[str, Any],
    *,
    asynchronous: bool,
) -> dict[str, Any]:
    """Return the options of the pool that were not given, if it is a pool that takes them."""
    if "pool" in given:
        return {}
    chosen = given.get("poolclass") or _default_pool(url, asynchronous=asynchronous)
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


def _default_pool(url: sa.URL, *, asynchronous: bool) -> type[Pool]:
    """Return our pool wherever SQLAlchemy would queue; SQLite in memory has a way of its own."""
    try:
        dialect: Any = url.get_dialect()  # its class methods are missing from the types
        if asynchronous:
            dialect = dialect.get_async_dialect_cls(url)
        usual: type[Pool] = dialect.get_pool_class(url)
    except sa.exc.NoSuchModuleError:  # told with its remedy when the engine is made
        return QueuePool
    ours: dict[type[Pool], type[Pool]] = {
        QueuePool: ResizablePool,
        AsyncAdaptedQueuePool: AsyncResizablePool,
    }
    return ours.get(usual, usual)


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
