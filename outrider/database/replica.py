"""Reads from a streaming replica, as long as it is near and tells the truth.

Refused, with the reason, and the primary answers instead: a replica that is not in recovery
(promoted, or never one), is another server's copy, stands still while the primary moves, is further
behind than the limit (:mod:`outrider.database.lag`), or does not answer.

A process reads its own writes: after a commit on the primary, its reads stay there until the
replica has replayed up to where the primary then stood.

The looks are made by callers with the engines' own connections, one caller at a time and at most
once in ``look_every_s``; the others go by the last look. A replica that does not answer is left
alone, for longer each time.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from outrider.database import server as servers
from outrider.database import tally
from outrider.database.lag import Lag, Note, State
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAG_S = 5.0
LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0
# After a commit of ours the replica is looked at sooner: it usually has it in some ms.
_SOON = 0.05

_PRIMARY = sa.text("""
SELECT CASE WHEN pg_is_in_recovery() THEN NULL
  ELSE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') END
""")
_REPLICA = sa.text("""
SELECT pg_is_in_recovery() AS in_recovery,
  pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0') AS replayed,
  pg_wal_lsn_diff(coalesce(pg_last_wal_receive_lsn(), '0/0'), '0/0') AS received
""")
_IDENTITY = sa.text("SELECT system_identifier FROM pg_control_system()")
_ROUTED: weakref.WeakSet[Routed] = weakref.WeakSet()


class Routed:
    """A primary and its replica: writes to the one, reads to the other while it may answer.

    Without a replica the primary answers all.
    """

    def __init__(
        self,
        primary: sa.Engine,
        replica: sa.Engine | None,
        *,
        limit_s: float = LAG_S,
        look_every_s: float = LOOK_EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        for engine in (primary, replica) if replica is not None else ():
            if engine.dialect.name != "postgresql":
                raise BadArgument(f"{engine.dialect.name} has no replicas; use one engine.")
        if limit_s <= 0:
            raise BadArgument(f"a lag limit of {limit_s} s lets no replica answer; give more.")
        self.primary, self.replica = primary, replica
        self._limit_s, self._every_s, self._now = limit_s, look_every_s, monotonic
        self._forget()
        if replica is not None:
            sa.event.listen(primary, "commit", lambda _connection: self.wrote())
            _ROUTED.add(self)

    def _forget(self) -> None:
        self._looking = threading.Lock()
        self._lag = Lag(limit_s=self._limit_s)
        self._state = State(False, "nobody looked yet")
        self._looked_s = self._next_s = self._now()
        self._failures = self._commits = 0
        self._is_related = False

    def wrote(self) -> None:
        """Count a commit; call it after writes that pass by ``COMMIT`` (AUTOCOMMIT).

        What this process reads from now on contains them.
        """
        self._commits += 1

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Give a transaction on the primary."""
        with self.primary.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection for reads, the replica's when it may answer, else the primary's.

        Each statement sees what is committed then: AUTOCOMMIT, so that none pays for BEGIN and
        ROLLBACK, and READ ONLY is not enforced on the primary.
        """
        with contextlib.ExitStack() as stack:
            chosen = self.reader()
            try:
                connection = stack.enter_context(chosen.connect())
            except sa.exc.OperationalError as error:
                if chosen is self.primary:
                    raise
                self._failed(f"it refuses connections ({servers.first_line(error)})")
                connection = stack.enter_context(self.primary.connect())
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def reader(self) -> sa.Engine:
        """Return the engine to read from now."""
        if self.replica is None:
            return self.primary
        state = self.state()
        return self.replica if state.usable and state.commits >= self._commits else self.primary

    def state(self) -> State:
        """Return the replica's state by a look that is at most ``look_every_s`` old.

        Blocks for the look when it falls to this caller.
        """
        if self.replica is None:
            return State(False, "no replica is named")
        at_s = self._now()
        waits = self._state.usable and self._state.commits < self._commits
        due_s = self._looked_s + self._every_s * _SOON if waits else self._next_s
        if at_s >= due_s and self._looking.acquire(blocking=False):
            try:
                self._look(self.replica)
            finally:
                self._looking.release()
        elif at_s > self._looked_s + self._every_s + self._limit_s:
            return State(False, "the last look is too old")  # whoever looks now is kept waiting
        return self._state

    def dispose(self) -> None:
        """Close both engines' idle connections."""
        self.primary.dispose()
        if self.replica is not None:
            self.replica.dispose()

    def _look(self, replica: sa.Engine) -> None:
        commits = self._commits  # before the primary's place is asked, so that it is beyond them
        try:
            place = self._primarys_place()
            with _outside(replica) as connection:
                found = connection.execute(_REPLICA).mappings().one()
                lie = self._lie(connection, found, place)
        except sa.exc.SQLAlchemyError as error:
            self._failed(f"it does not answer ({servers.first_line(error)})")
            return
        at_s = self._now()
        self._failures, self._looked_s, self._next_s = 0, at_s, at_s + self._every_s
        if place is not None:
            self._lag.note(Note(at_s, place, commits))
        self._state = (
            State(False, lie)
            if lie
            else self._lag.judge(
                at_s, replayed=int(found["replayed"]), received=int(found["received"])
            )
        )

    def _primarys_place(self) -> int | None:
        """Return where the primary stands; None when it can't be asked now, so the lag grows."""
        pool = self.primary.pool
        if isinstance(pool, QueuePool) and pool.checkedout() >= tally.capacity(pool):
            return None  # who looks must not queue behind the bot's own work
        try:
            with _outside(self.primary) as connection:
                place = connection.execute(_PRIMARY).scalar()
        except sa.exc.SQLAlchemyError:
            return None
        return None if place is None else int(place)

    def _lie(self, connection: sa.Connection, found: Any, place: int | None) -> str | None:
        """Return why this is no replica of our primary; None when nothing speaks against it."""
        if not found["in_recovery"]:
            self._is_related = False
            return "it is not in recovery: promoted, or never a replica"
        if self._is_related or place is None:
            return None
        with contextlib.suppress(sa.exc.DBAPIError):  # a host may forbid the question
            theirs = connection.execute(_IDENTITY).scalar()
            with _outside(self.primary) as ours:
                if ours.execute(_IDENTITY).scalar() != theirs:
                    return "it is another server's copy: the system identifiers differ"
        self._is_related = True
        return None

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._looked_s = self._now()
        pause_s = min(_LONGEST_PAUSE_S, self._every_s * 2**self._failures)
        self._state, self._next_s = State(False, reason), self._looked_s + pause_s


def session_class(routed: Routed) -> type[Session]:
    """Return a class of sessions that read from the replica until they write.

    A session whose objects are changed, that flushes, locks rows or runs anything but a SELECT goes
    to the primary, and stays there until its transaction ends, so that it sees what it did. Use it
    as ``sessionmaker(class_=session_class(routed))``.
    """

    class RoutedSession(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **_options: Any) -> sa.Engine:
            del mapper
            bound: sa.Engine | None = self.info.get(_BOUND)
            if bound is not routed.primary:
                reads = isinstance(clause, sa.Select) and clause._for_update_arg is None  # noqa: SLF001 - no public way
                is_clean = not (self._flushing or self.new or self.dirty or self.deleted)
                if not reads or not is_clean:
                    bound = routed.primary
                elif bound is None:
                    bound = routed.reader()
                self.info[_BOUND] = bound
            return bound

    def ended(session: Session, transaction: Any) -> None:
        if transaction.parent is None:  # a flush and a savepoint have one, and end earlier
            session.info.pop(_BOUND, None)

    sa.event.listen(RoutedSession, "after_transaction_end", ended)
    return RoutedSession


_BOUND = "outrider.bound"


def _outside(engine: sa.Engine) -> Any:
    """Return a connection whose looks are no transactions, and so no commits."""
    return engine.execution_options(isolation_level="AUTOCOMMIT").connect()


def _in_child() -> None:
    for routed in list(_ROUTED):
        routed._forget()  # noqa: SLF001 - a lock that was held at the fork stays so


os.register_at_fork(after_in_child=_in_child)
