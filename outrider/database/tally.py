"""What a bot's pools and queries did, counted where it happens.

SQLAlchemy's cursor events cost 58 us a query, a fifth of its own time; the dialect's methods
wrapped as here cost two or three, and see the same. Its pool events tell nothing of a wait for a
connection, so the pool is a QueuePool that counts at its own door.

One tally serves all engines of a process, since series are named once a bot.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from outrider.database.resizable import UNBOUNDED, ResizablePool, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.pool import ConnectionPoolEntry

    from outrider.database.lease import Leaseholder

_EXECUTE = ("do_execute", "do_executemany", "do_execute_no_params")


class Tally:
    """Totals since the process began. Safe with threads.

    ``asking`` holds the threads that want a connection and have none yet.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked child must: its parent may have held the lock."""
        self._lock = threading.Lock()
        self.queries = 0
        self.query_seconds = 0.0
        self.errors = 0
        self.asking: set[int] = set()
        self.wait_seconds = 0.0
        self.timeouts = 0
        self.checkouts = 0
        self.hold_seconds = 0.0

    def query(self, seconds: float, *, failed: bool) -> None:
        """Count a statement."""
        with self._lock:
            self.queries += 1
            self.query_seconds += seconds
            self.errors += failed

    def connect_failed(self) -> None:
        """Count a connection that could not be made."""
        with self._lock:
            self.errors += 1

    def waited(self, seconds: float, *, timed_out: bool) -> None:
        """Count a thread that has its connection, or gave up."""
        with self._lock:
            self.wait_seconds += seconds
            self.timeouts += timed_out

    def held(self, seconds: float) -> None:
        """Count a connection that came back."""
        with self._lock:
            self.checkouts += 1
            self.hold_seconds += seconds


TALLY = Tally()
_ENGINES: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


class CountedPool(QueuePool):
    """A QueuePool that counts who waits for a connection, a new one included, and how long.

    ``_do_get`` is what SQLAlchemy's own pools override; tests hold 2.0 and 2.1 to it.
    """

    def _do_get(self) -> ConnectionPoolEntry:
        thread, asking = threading.get_ident(), TALLY.asking
        timed_out = False
        start = time.perf_counter()
        asking.add(thread)
        try:
            return super()._do_get()
        except sa.exc.TimeoutError:
            timed_out = True
            raise
        finally:
            asking.discard(thread)
            TALLY.waited(time.perf_counter() - start, timed_out=timed_out)


class Watch(Watcher):
    """What a ResizablePool tells of itself: to the tally, and to the holder of its lease."""

    lease: Leaseholder | None = None

    def waited(self, seconds: float, *, timed_out: bool = False) -> None:
        """Count a caller that has its connection, or gave up."""
        TALLY.waited(seconds, timed_out=timed_out)

    def held(self, seconds: float) -> None:
        """Count a connection that came back."""
        TALLY.held(seconds)

    def starved(self) -> None:
        """Ask for more connections, when they are leased."""
        if self.lease is not None:
            self.lease.starved()

    def freed(self) -> None:
        """Give connections back, when somebody else waits for them."""
        if self.lease is not None:
            self.lease.freed()


def attach(engine: sa.Engine) -> None:
    """Count what an engine does from now on."""
    dialect = engine.dialect
    for name in _EXECUTE:
        setattr(dialect, name, _counted(getattr(dialect, name)))
    dialect.connect = _counting_failures(dialect.connect)  # type: ignore[method-assign]
    _ENGINES.add(engine)


def engines() -> list[sa.Engine]:
    """Return the engines of this process that are counted and still in use."""
    return list(_ENGINES)


def readings() -> dict[str, float]:
    """Return the series of this process; none when it made no engine.

    ``db.pool.used_ratio`` is of what the pools may open, overflow included. Engines without a
    queue have no ``db.pool`` series.
    """
    if not _ENGINES:
        return {}
    values = {
        "db.queries_total": float(TALLY.queries),
        "db.query_seconds_total": round(TALLY.query_seconds, 6),
        "db.errors_total": float(TALLY.errors),
    }
    pools = [engine.pool for engine in engines() if isinstance(engine.pool, QueuePool)]
    if not pools:
        return values
    room = sum(capacity(pool) for pool in pools)
    used = float(sum(pool.checkedout() for pool in pools))
    values |= {
        "db.pool.size": float(sum(pool.size() for pool in pools)),
        "db.pool.used": used,
        "db.pool.waiting": float(len(TALLY.asking) + sum(map(_waiting, pools))),
        "db.pool.wait_seconds_total": round(TALLY.wait_seconds, 6),
        "db.pool.checkouts_total": float(TALLY.checkouts),
        "db.pool.hold_seconds_total": round(TALLY.hold_seconds, 6),
        "db.pool.timeouts_total": float(TALLY.timeouts),
    }
    return values | ({"db.pool.used_ratio": used / room} if math.isfinite(room) else {})


def capacity(pool: QueuePool) -> float:
    """Return the most connections that a pool opens; infinite when it has no bound."""
    if isinstance(pool, ResizablePool):
        return math.inf if pool.slots.cap >= UNBOUNDED else pool.slots.cap
    # SQLAlchemy tells the overflow of the moment, not its bound.
    overflow = pool._max_overflow  # noqa: SLF001
    return math.inf if overflow < 0 else pool.size() + overflow


def _waiting(pool: QueuePool) -> int:
    return pool.use().waiting if isinstance(pool, ResizablePool) else 0


def _counted(execute: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        failed = True
        start = time.perf_counter()
        try:
            result = execute(*args, **kwargs)
            failed = False
        finally:
            TALLY.query(time.perf_counter() - start, failed=failed)
        return result

    return counted


def _counting_failures(connect: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*args: Any, **kwargs: Any) -> Any:
        try:
            return connect(*args, **kwargs)
        except BaseException:
            TALLY.connect_failed()
            raise

    return counting
