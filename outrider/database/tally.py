"""What a bot's pools and queries did, counted where it happens.

SQLAlchemy's cursor events cost 58 us a query, a fifth of its own time; the dialect's methods
wrapped as here cost three or four with all that is kept, and see the same. Its pool events tell
nothing of a wait for a connection, so the pool counts at its own door.

One tally serves all engines of a process, since series are named once a bot.
"""

from __future__ import annotations

import math
import threading
import weakref
from time import perf_counter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from outrider.database import calls, holds
from outrider.database.findings import Finding, Findings
from outrider.database.resizable import UNBOUNDED, ResizablePool, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.pool import ConnectionPoolEntry

    from outrider.database.lease import Leaseholder

_EXECUTE = ("do_execute", "do_executemany", "do_execute_no_params")
_END = ("do_commit", "do_rollback")


class Tally:
    """Totals since the process began. Safe with threads.

    ``asking`` holds the threads that want a connection of a foreign pool and have none yet.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked child must: its parent may have held a lock."""
        self.calls = calls.Calls()
        self.connects = calls.Costs()
        self.holds = holds.Holds()
        self.findings = Findings()
        self.asking: set[int] = set()
        self._lock = threading.Lock()
        self.connect_errors = 0
        self.timeouts = 0

    @property
    def queries(self) -> int:
        """How many statements were run."""
        return self.calls.total().calls

    @property
    def errors(self) -> int:
        """How many statements and connects failed."""
        return self.calls.total().errors + self.connect_errors

    def connect_failed(self) -> None:
        """Count a connection that could not be made."""
        with self._lock:
            self.connect_errors += 1

    def gave_up(self, seconds: float, *, timed_out: bool) -> None:
        """Count a caller that got no connection."""
        self.holds.gave_up(seconds)
        with self._lock:
            self.timeouts += timed_out

    def took(self, record: Any, waited_s: float, now_s: float, *, asynchronous: bool) -> None:
        """Note who has a connection from now on."""
        hold = holds.Hold(now_s, waited_s, holds.caller(2, asynchronous=asynchronous))
        record.hold = hold
        self.holds.open.add(hold)

    def returned(self, record: Any, now_s: float) -> None:
        """Note that a connection came back."""
        hold, record.hold = record.hold, None
        if hold is not None:
            if hold.ran is not None:
                self.ran(hold)
            self.holds.end(hold, now_s)

    def ran(self, hold: holds.Hold) -> None:
        """Look at what a transaction ran: its end has come."""
        ran, hold.ran = hold.ran, None
        if ran is not None and len(ran) > holds.MOST_REPEATS:
            for statement in holds.repeated(ran):
                self.repeated(hold, statement)

    def look_for_leaks(self, now_s: float) -> int:
        """Tell of each connection that looks forgotten, once; return how many there are now."""
        overdue = self.holds.overdue(now_s)
        for hold in overdue:
            if not hold.told:
                hold.told = True
                self.findings.add("leak", holds.place_of(hold), lambda: self._leak(hold, now_s))  # noqa: B023
        return len(overdue)

    def _leak(self, hold: holds.Hold, now_s: float) -> str:
        longest_s = self.holds.history.longest_s(hold)
        before = (
            "none that was taken there ever came back"
            if longest_s is None
            else f"others that were taken there came back after {longest_s:.3g} s at most"
        )
        return (
            f"a connection is held for {now_s - hold.taken_s:.0f} s, and nothing runs for it"
            f" ({before}). Close it where it was taken, with a `with` block; a larger pool would"
            f" only last longer. It was taken at\n    {holds.words(hold.site)}\n"
            f"  The thread that took it is now at\n    {holds.stack_of(hold.thread)}"
        )

    def repeated(self, hold: holds.Hold, statement: str) -> None:
        """Tell of a statement that is run in a loop."""
        self.findings.add(
            "n_plus_one",
            (holds.place_of(hold), statement),
            lambda: (
                f"one transaction runs the same statement more than {holds.MOST_REPEATS} times:"
                " ask for all rows at once (a join, selectinload, IN, or executemany).\n"
                f"    {' '.join(statement.split())[:300]}\n"
                f"  Its connection was taken at\n    {holds.words(hold.site)}"
            ),
        )

    def external(self, hold: holds.Hold, now_s: float) -> None:
        """Tell of a transaction that stood idle for most of its time."""
        whole_s, idle_s = now_s - hold.began_s, hold.now_idle_s
        self.findings.add(
            "external_call",
            holds.place_of(hold),
            lambda: (
                f"a transaction of {whole_s * 1000:.0f} ms stood idle for {idle_s * 1000:.0f} ms"
                f" ({idle_s / whole_s:.0%}): call other services before it begins or after it has"
                " ended, so that its connection serves others meanwhile; a larger pool would only"
                f" hide it. Its connection was taken at\n    {holds.words(hold.site)}"
            ),
        )


TALLY = Tally()
_ENGINES: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


class CountedPool(QueuePool):
    """A QueuePool that counts who waits for a connection, a new one included, and how long.

    ``_do_get`` and ``_do_return_conn`` are what SQLAlchemy's own pools override; tests hold 2.0 and
    2.1 to them.
    """

    def _do_get(self) -> ConnectionPoolEntry:
        thread, asking = threading.get_ident(), TALLY.asking
        start = perf_counter()
        asking.add(thread)
        try:
            record = super()._do_get()
        except BaseException as error:
            timed_out = isinstance(error, sa.exc.TimeoutError)
            TALLY.gave_up(perf_counter() - start, timed_out=timed_out)
            raise
        finally:
            asking.discard(thread)
        now_s = perf_counter()
        TALLY.took(record, now_s - start, now_s, asynchronous=self._is_asyncio)
        return record

    def _do_return_conn(self, record: Any) -> None:
        if hasattr(record, "hold"):  # it may have been taken before anybody counted
            TALLY.returned(record, perf_counter())
        super()._do_return_conn(record)


class Watch(Watcher):
    """What a ResizablePool tells of itself: to the tally, and to the holder of its lease."""

    lease: Leaseholder | None = None

    def __init__(self, *, asynchronous: bool = False) -> None:
        self._asynchronous = asynchronous

    def taken(self, record: Any, waited_s: float, now_s: float) -> None:
        """Note who has a connection from now on."""
        TALLY.took(record, waited_s, now_s, asynchronous=self._asynchronous)

    def gave_up(self, seconds: float, *, timed_out: bool = False) -> None:
        """Count a caller that got no connection."""
        TALLY.gave_up(seconds, timed_out=timed_out)

    def returned(self, record: Any, now_s: float) -> None:
        """Count a connection that came back."""
        TALLY.returned(record, now_s)

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
    for name in _END:
        setattr(dialect, name, _ending(getattr(dialect, name)))
    dialect.connect = _connecting(dialect.connect)  # type: ignore[method-assign]
    _ENGINES.add(engine)


def engines() -> list[sa.Engine]:
    """Return the engines of this process that are counted and still in use."""
    return list(_ENGINES)


def findings() -> list[Finding]:
    """Return the leaks, external calls and repeated statements seen in this process."""
    return TALLY.findings.all()


def statements() -> dict[str, calls.Cost]:
    """Return what each statement cost, by the text that SQLAlchemy sent."""
    return TALLY.calls.by_statement()


def readings() -> dict[str, float]:
    """Return the series of this process; none when it made no engine. Looks for leaks meanwhile.

    ``db.pool.used_ratio`` is of what the pools may open, overflow included. Engines without a
    queue have no ``db.pool`` series.
    """
    if not _ENGINES:
        return {}
    all_calls, found = TALLY.calls.total(), TALLY.findings.counts
    values = {
        "db.queries_total": float(all_calls.calls),
        "db.query_seconds_total": round(all_calls.seconds, 6),
        "db.errors_total": float(all_calls.errors + TALLY.connect_errors),
        "db.rows_total": float(all_calls.rows),
    }
    pools = [engine.pool for engine in engines() if isinstance(engine.pool, QueuePool)]
    if not pools:
        return values
    room = sum(capacity(pool) for pool in pools)
    used = float(sum(pool.checkedout() for pool in pools))
    now_s, held = perf_counter(), TALLY.holds.total()
    values |= {
        "db.pool.size": float(sum(pool.size() for pool in pools)),
        "db.pool.used": used,
        "db.pool.waiting": float(len(TALLY.asking) + sum(map(_waiting, pools))),
        "db.pool.wait_seconds_total": round(held.waits.seconds, 6),
        "db.pool.checkouts_total": float(held.cost.calls),
        "db.pool.hold_seconds_total": round(held.cost.seconds, 6),
        "db.pool.hold_squares_total": round(held.cost.squares, 6),
        "db.pool.outside_seconds_total": round(held.outside_s, 6),
        "db.pool.idle_in_transaction_seconds_total": round(held.idle_in_transaction_s, 6),
        "db.pool.longest_hold_s": round(TALLY.holds.longest_open_s(now_s), 3),
        "db.pool.leaked": float(TALLY.look_for_leaks(now_s)),
        "db.pool.timeouts_total": float(TALLY.timeouts),
        "db.external_calls_total": float(found["external_call"]),
        "db.n_plus_one_total": float(found["n_plus_one"]),
    }
    return values | ({"db.pool.used_ratio": used / room} if math.isfinite(room) else {})


def timings() -> dict[str, tuple[int, float, float, dict[int, int]]]:
    """Return the histograms of this process: count, sum, longest since last asked, buckets."""
    if not _ENGINES:
        return {}
    held = TALLY.holds.total(anew=True)
    costs = {
        "db.query_time": TALLY.calls.histogram(),
        "db.connect": TALLY.connects.total(anew=True),
        "db.pool.wait_time": held.waits,
        "db.pool.hold_time": held.cost,
    }
    return {
        name: (cost.calls, cost.seconds, cost.longest_s, cost.buckets)
        for name, cost in costs.items()
        if cost.calls
    }


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
    """Return a dialect's method, counted. Written out: each call in it would be a tenth more."""
    is_autocommit, fold_at = holds.is_autocommit, calls.FOLD_AT
    burst_s, most_ran = holds.BURST_S, holds.MOST_RAN

    def counted(cursor: Any, statement: str, *rest: Any) -> Any:
        try:
            connection = rest[-1]._dbapi_connection  # noqa: SLF001 - tests hold 2.0 and 2.1 to it
            hold = connection._connection_record.hold  # noqa: SLF001
        except (AttributeError, IndexError):  # no pool of ours
            hold = None
        start_s = perf_counter()
        if hold is not None:
            if hold.began_s:
                hold.now_idle_s += start_s - hold.until_s
            elif not is_autocommit(connection.dbapi_connection):
                hold.began_s = start_s
            hold.running = True
        rows = None
        try:
            result = execute(cursor, statement, *rest)
            rows = cursor.rowcount
        finally:
            end_s = perf_counter()
            tally = TALLY.calls
            tally.pending.append((statement, end_s - start_s, rows))
            if len(tally.pending) >= fold_at:
                tally.may_fold()
            if hold is not None:
                hold.running = False
                hold.busy_s += end_s - start_s
                ran = hold.ran
                if ran is None:
                    hold.ran = [statement]
                elif start_s - hold.until_s < burst_s and len(ran) < most_ran:
                    ran.append(statement)
                else:
                    TALLY.ran(hold)
                    hold.ran = [statement]
                hold.until_s = end_s
        return result

    return counted


def _ending(end: Callable[..., Any]) -> Callable[..., Any]:
    def ending(connection: Any) -> Any:
        try:
            hold = connection._connection_record.hold  # noqa: SLF001
        except AttributeError:
            hold = None
        if hold is None or not hold.began_s:
            return end(connection)
        start_s = perf_counter()
        hold.now_idle_s += start_s - hold.until_s
        if holds.is_external(hold, start_s):
            TALLY.external(hold, start_s)
        try:
            return end(connection)
        finally:
            hold.until_s = now_s = perf_counter()
            hold.busy_s += now_s - start_s
            if hold.ran is not None:
                TALLY.ran(hold)
            holds.end_transaction(hold)

    return ending


def _connecting(connect: Callable[..., Any]) -> Callable[..., Any]:
    def connecting(*args: Any, **kwargs: Any) -> Any:
        start_s = perf_counter()
        try:
            connection = connect(*args, **kwargs)
        except BaseException:
            TALLY.connect_failed()
            raise
        TALLY.connects.add(perf_counter() - start_s)
        return connection

    return connecting
