"""A connection pool whose size can be changed while it is in use, for threads and for asyncio.

SQLAlchemy's own can't: its size is fixed when it is made (changing the private fields never
converged in a trial), and ``engine.dispose()`` under load left the old connections open beside the
new. This one keeps SQLAlchemy's records, events, recycling and reset, and replaces only where they
lie: ``_do_get`` and ``_do_return_conn``, which every pool of SQLAlchemy's overrides too.

What SQLAlchemy's pools do not have besides:

- **waiting is seen**: ``checkout`` events fire after the wait; here it is counted where it happens;
- **dead connections are noticed without a ping**: a server that ended or an administrator who cut
  the session leaves the socket readable, which costs a microsecond to see. Only then, or after
  ``ping_after_s`` of idling (a firewall drops in silence), the connection is asked;
- **first come, first served**, and a ``reserve`` of places for work inside :func:`high_priority`.

It relies on four private names of SQLAlchemy (``_do_get``, ``_do_return_conn``,
``_create_connection``, ``_do_ping_w_event``); tests hold 2.0 and 2.1 to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import select
import socket
import threading
import time
import weakref
from time import perf_counter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool, QueuePool
from sqlalchemy.util import await_only, greenlet_spawn

from outrider.database import remedies
from outrider.database.slots import OPEN, Slots, Use, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy.pool import ConnectionPoolEntry

PING_AFTER_S = 30.0
# Who has not answered by then is gone: drivers themselves would wait for ever.
PING_WITHIN_S = 5.0
# A server ends a session within a millisecond of its goodbye; a loaded one takes longer.
ENDED_WITHIN_S = 1.0
# Between tries to reach a server that was reached before; spread, so that a fleet does not knock
# all at once.
RETRY_S = 0.05
RETRY_MOST_S = 1.0
UNBOUNDED = 1 << 30
_URGENT: contextvars.ContextVar[bool] = contextvars.ContextVar("outrider_urgent", default=False)


@contextlib.contextmanager
def high_priority() -> Iterator[None]:
    """Check out connections in this block before others, and from the pool's reserve.

    It holds for this thread or task, and for tasks that are begun inside the block.
    """
    token = _URGENT.set(True)
    try:
        yield
    finally:
        _URGENT.reset(token)


class Watcher:
    """What a pool tells of itself. Does nothing; see :class:`outrider.database.tally.Watch`."""

    wants_freed = False  # whether freed() is to be called for each connection that comes back

    def taken(self, record: Any, waited_s: float, now_s: float) -> None:
        """A caller has its connection: ``record``, which has room for what is to be kept of it."""

    def gave_up(self, seconds: float, *, timed_out: bool = False) -> None:
        """A caller got none."""

    def returned(self, record: Any, now_s: float) -> None:
        """A connection came back."""

    def starved(self) -> None:
        """A caller has to wait for a place. Called with no lock held; must not block."""

    def freed(self) -> None:
        """A connection came back, or was closed for good."""


class ResizablePool(QueuePool):
    """A QueuePool whose cap can be changed by :meth:`resize`.

    Takes the arguments of QueuePool. ``pool_size`` + ``max_overflow`` is the cap; what is above
    ``pool_size`` is closed when it comes back, as SQLAlchemy does it. ``reserve`` places of the cap
    serve :func:`high_priority` only.
    """

    def __init__(
        self,
        creator: Any,
        pool_size: int = 5,
        max_overflow: int = 0,
        timeout: float = 30.0,
        use_lifo: bool = True,  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        *,
        reserve: int = 0,
        ping_after_s: float = PING_AFTER_S,
        watcher: Watcher | None = None,
        **options: Any,
    ) -> None:
        super().__init__(creator, pool_size, max_overflow, timeout, use_lifo, **options)
        unbounded = pool_size == 0 or max_overflow < 0
        self.slots = Slots(
            UNBOUNDED if unbounded else pool_size + max_overflow,
            reserve=reserve,
            keep=pool_size if max_overflow and pool_size else None,
        )
        self.watcher = watcher or Watcher()
        self.may_open: Callable[[], bool] | None = None
        self.sees_ends = False  # whether a place is free only when the server ended the session
        self._given: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "timeout": timeout,
            "use_lifo": use_lifo,
            "reserve": reserve,
            "ping_after_s": ping_after_s,
        }
        self.ping_after_s = ping_after_s
        self._disposed = False
        self._opened: dict[int, Any] = {}
        self._create: Callable[[Any], Any] = self._invoke_creator
        self._invoke_creator = self._connect  # type: ignore[assignment]
        self.reached = False
        # What a forgotten pool leaves open would be closed by nobody; see _close_left.
        left = weakref.finalize(self, _close_left, self._opened, self._is_asyncio, os.getpid())
        left.atexit = False

    def resize(self, cap: int) -> None:
        """Allow ``cap`` connections from now on; callers who wait get new ones at once.

        Idle ones above the cap are closed before this returns, those in use when they come back:
        at no moment are there more than the greater of the old and the new cap.

        Raises:
            ValueError: ``cap`` is negative.
        """
        if cap < 0:
            raise ValueError(f"cap = {cap}: a pool has 0 or more connections.")
        if cap != self.slots.cap:
            self._retire(self.slots.resize(cap))

    def use(self) -> Use:
        """Return how the pool is used at this moment."""
        return self.slots.use()

    def _do_get(self) -> ConnectionPoolEntry:
        start_s = perf_counter()
        got = self.slots.take(_URGENT.get())
        try:
            if got is None:
                got = self._queue_up()
            if got is OPEN:
                record: Any = self._open()
            else:
                idle_since_s, record = got
                if start_s - idle_since_s > self.ping_after_s or _has_news(record):
                    self._revive(record)
        except BaseException as error:
            self.watcher.gave_up(
                perf_counter() - start_s, timed_out=isinstance(error, sa.exc.TimeoutError)
            )
            raise
        now_s = perf_counter()
        self.watcher.taken(record, now_s - start_s, now_s)
        return record  # type: ignore[no-any-return]

    def _do_return_conn(self, record: Any) -> None:
        # Some come back that nobody took: a checkout that could not connect.
        now_s = perf_counter()
        self.watcher.returned(record, now_s)
        usable = record.dbapi_connection is not None
        if not usable:
            self._opened.pop(id(record), None)  # invalidated, or detached and somebody else's
        if self.slots.give_back(record, now_s, usable and not self._disposed):
            self._retire([record])
        elif self.watcher.wants_freed:
            self.watcher.freed()

    def _queue_up(self) -> Any:
        waiter = self._waiter(_URGENT.get())
        got = self.slots.wait(waiter)
        if got is not None:
            return got
        self.watcher.starved()
        return self._await(waiter)

    def _open(self) -> ConnectionPoolEntry:
        try:
            if self.may_open is not None and not self.may_open():
                raise sa.exc.TimeoutError(  # noqa: TRY301 - its place must be freed too
                    "this process has no right to open a connection: its part of the fleet's"
                    " connections has expired, and Redis was not reached since."
                )
            return self._create_connection()
        except BaseException:
            self.slots.failed()
            raise

    def _connect(self, record: Any) -> Any:
        """Open a connection; try again, for as long as callers wait, where a moment may help.

        A server that restarts refuses for a second or two. One that was never reached is more
        likely to have another address, and its refusal is told at once.
        """
        give_up_s = perf_counter() + self._timeout
        pause_s = RETRY_S
        while True:
            try:
                connection = self._create(record)
            except Exception as error:
                pause_s = min(pause_s * random.uniform(1.0, 2.5), RETRY_MOST_S)  # noqa: S311
                late = perf_counter() + pause_s > give_up_s
                if late or not self.reached or not remedies.is_passing(error):
                    raise
                self._pause(pause_s)
                if self.may_open is not None and not self.may_open():
                    raise
            else:
                self.reached = True
                self._opened[id(record)] = connection
                return connection

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _revive(self, record: ConnectionPoolEntry) -> None:
        """Close a record's connection if it is dead; SQLAlchemy then opens another in its place."""
        with _cut_after(PING_WITHIN_S, record):
            try:
                alive = self._dialect._do_ping_w_event(record.dbapi_connection)  # type: ignore[arg-type]  # noqa: SLF001
            except Exception:  # noqa: BLE001 - whatever it says, it can't be used
                alive = False
        if not alive:
            record.invalidate()

    def _waiter(self, urgent: bool) -> Waiter:  # noqa: FBT001 - one caller
        return _ThreadWaiter(urgent)

    def _await(self, waiter: Any) -> Any:
        try:
            waiter.wait(self._timeout)
        except BaseException:  # Ctrl-C, a cancelled task
            if not self.slots.leave(waiter):
                self._put_back(waiter.granted)
            raise
        if waiter.granted is None and self.slots.leave(waiter):
            use = self.slots.use()
            raise sa.exc.TimeoutError(
                f"no connection within {self._timeout:g} s: all {use.cap} of this pool are in use"
                f" and {use.waiting} more callers wait. Give connections back sooner, or let the"
                " fleet's plan give this bot more (outrider db plan).",
                code="3o7r",
            )
        return waiter.granted

    def _put_back(self, granted: Any) -> None:
        if granted is OPEN:
            self.slots.failed()
        elif self.slots.give_back(granted[1], granted[0]):
            self._retire([granted[1]])

    def _retire(self, records: Iterable[ConnectionPoolEntry]) -> None:
        for record in records:
            ended = _end_of(record) if self.sees_ends else None
            try:
                record.close()
                if ended is not None:
                    self._await_end(ended)
            finally:
                self._opened.pop(id(record), None)
                self.slots.retire()
                self.watcher.freed()

    def _await_end(self, ended: int) -> None:
        _wait_for_end(ended)

    def recreate(self) -> ResizablePool:
        """Return an empty pool like this one, at its present cap."""
        self.logger.info("Pool recreating")
        again = self.__class__(
            self._creator,
            **self._given,
            watcher=self.watcher,
            pre_ping=self._pre_ping,
            recycle=self._recycle,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )
        if self._disposed:
            # What is in use keeps its place until it came back and is closed: both pools together
            # have no more than one may.
            again.slots = self.slots
        again.slots.cap = self.slots.cap
        again.reached = self.reached
        again.ping_after_s = self.ping_after_s
        again.may_open, again.sees_ends = self.may_open, self.sees_ends
        return again

    def dispose(self) -> None:
        """Close what is idle, and, unlike SQLAlchemy, what is in use when it comes back."""
        self._disposed = True
        self._retire(self.slots.drain())

    def size(self) -> int:
        """Return the present cap."""
        return self.slots.cap

    def checkedin(self) -> int:
        """Return how many idle connections are open."""
        return self.use().idle

    def checkedout(self) -> int:
        """Return how many connections are in use."""
        use = self.use()
        return use.held - use.idle

    def overflow(self) -> int:
        """Return how many connections are open beyond the cap, while it shrinks."""
        use = self.use()
        return max(0, use.held - use.cap)

    def status(self) -> str:
        """Return the use in words."""
        use = self.use()
        return (
            f"{use.held - use.idle} of {use.cap} connections in use, {use.idle} idle,"
            f" {use.waiting} callers wait"
        )


class AsyncResizablePool(ResizablePool, AsyncAdaptedQueuePool):
    """The same for asyncio: a caller who waits leaves the event loop free."""

    _is_asyncio = True
    _loop: asyncio.AbstractEventLoop | None = None

    def _waiter(self, urgent: bool) -> Waiter:  # noqa: FBT001 - one caller
        self._loop = asyncio.get_running_loop()
        return _TaskWaiter(self._loop, urgent)

    def _open(self) -> ConnectionPoolEntry:
        self._loop = asyncio.get_running_loop()
        return super()._open()

    def _pause(self, seconds: float) -> None:
        await_only(asyncio.sleep(seconds))

    def _await_end(self, ended: int) -> None:
        await_only(asyncio.get_running_loop().run_in_executor(None, _wait_for_end, ended))

    def _retire(self, records: Iterable[ConnectionPoolEntry]) -> None:
        """Close them in the event loop that they belong to; another thread only asks for it."""
        records = list(records)
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        loop = self._loop
        if not records or loop is None or loop is here:
            super()._retire(records)
            return
        if loop.is_closed():
            record: Any
            for record in records:  # nobody could await their farewell
                _cut(record.dbapi_connection)
                record.dbapi_connection = None
            super()._retire(records)
            return
        close = super()._retire

        def begin() -> None:
            task = loop.create_task(greenlet_spawn(close, records))
            _KEPT.add(task)
            task.add_done_callback(_KEPT.discard)

        loop.call_soon_threadsafe(begin)


# The loop itself holds its tasks by weak references only.
_KEPT: set[asyncio.Task[None]] = set()


class _Waiter:
    __slots__ = ("granted", "urgent")

    def __init__(self, urgent: bool) -> None:  # noqa: FBT001 - two callers
        self.urgent = urgent
        self.granted: Any = None


class _ThreadWaiter(_Waiter):
    __slots__ = ("_door",)

    def __init__(self, urgent: bool) -> None:  # noqa: FBT001
        super().__init__(urgent)
        self._door = threading.Lock()
        self._door.acquire()

    def wait(self, within_s: float) -> None:
        self._door.acquire(timeout=within_s)

    def wake(self) -> None:
        self._door.release()


class _TaskWaiter(_Waiter):
    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, urgent: bool) -> None:  # noqa: FBT001
        super().__init__(urgent)
        self._loop = loop
        self._future: asyncio.Future[None] = loop.create_future()

    def wait(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await_only(asyncio.wait_for(self._future, within_s))

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._open_door)

    def _open_door(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


def _close_left(opened: dict[int, Any], is_asyncio: bool, pid: int) -> None:  # noqa: FBT001
    """Close what a collected pool left open.

    Records and pool refer to each other, so the collector could end a connection before its pool,
    and drivers complain of that; what is kept here outlives both. A child must not close what its
    parent uses.
    """
    connections = list(opened.values())
    opened.clear()
    if os.getpid() != pid:
        _INHERITED.append(connections)
        return
    for connection in connections:
        with contextlib.suppress(Exception):  # it may be closed, or its loop have ended
            _cut(connection) if is_asyncio else connection.close()


def _cut(connection: Any) -> None:
    """Close an asyncio driver's connection from outside its loop."""
    driver = getattr(connection, "driver_connection", connection)
    if hasattr(driver, "pgconn"):  # psycopg
        driver.pgconn.finish()
    else:
        connection.terminate()


_INHERITED: list[Any] = []


def _end_of(record: ConnectionPoolEntry) -> int | None:
    """Return a descriptor that outlives the connection, by which its end can be seen."""
    try:
        return os.dup(record.driver_connection.fileno())  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return None


@contextlib.contextmanager
def _cut_after(seconds: float, record: ConnectionPoolEntry) -> Iterator[None]:
    """Cut a connection's wire unless the block ends in time: who waits for it then gets an error.

    A network that swallows packets never says so. Costs a thread, which only long idling is worth.
    """
    wire = _end_of(record)
    if wire is None:
        yield
        return
    timer = threading.Timer(seconds, _cut_wire, (wire,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(wire)


def _cut_wire(wire: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(wire)) as own:
        own.shutdown(socket.SHUT_RDWR)


def _wait_for_end(ended: int) -> None:
    """Wait until the server closed its side: it still counts a session whose client has left."""
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        deadline_s = perf_counter() + ENDED_WITHIN_S
        while (left_s := deadline_s - perf_counter()) > 0 and poll.poll(left_s * 1000):
            if not os.read(ended, 4096):
                return
    except OSError:
        return
    finally:
        os.close(ended)


def _has_news(record: Any) -> bool:
    """Tell whether an idle connection's server said something, or is closed: it should not have."""
    try:
        connection, look = record.watched
    except AttributeError:
        connection = None
    if connection is not record.dbapi_connection:
        look = _look_at(record.driver_connection)
        record.watched = record.dbapi_connection, look
    try:
        return bool(look(0))
    except (OSError, ValueError):
        return True  # closed under us


def _look_at(driver: Any) -> Callable[[int], object]:
    """Return what looks whether a driver's connection has something to read."""
    closed = getattr(driver, "is_closed", None)  # asyncpg reads its socket itself
    if closed is not None:
        return lambda _: closed()
    try:
        # Not select(): a bot with many sockets has descriptors above its 1024.
        poll = select.poll()
        poll.register(driver.fileno(), select.POLLIN | select.POLLHUP)
    except (AttributeError, TypeError):  # a driver without a socket, such as SQLite's
        return lambda _: False
    return poll.poll


__all__ = ["AsyncResizablePool", "Pool", "ResizablePool", "Watcher", "high_priority"]
