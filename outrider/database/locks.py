"""Who blocks whom, and which sessions hold the server back: long and idle transactions.

A blocked session is shown with the one at the root of its queue, since ending any other frees
nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable

LONG_S = 60.0
_TEXT = 200
_SESSIONS = sa.text("""
SELECT pid, coalesce(application_name, '') AS application, coalesce(usename, '') AS role,
  coalesce(state, '') AS state, left(coalesce(query, ''), :text) AS query,
  extract(epoch FROM clock_timestamp() - xact_start)::float AS transaction_s,
  extract(epoch FROM clock_timestamp() - state_change)::float AS state_s,
  CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END AS blocked_by
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
""")


@dataclass(frozen=True, slots=True)
class Session:
    """A session; ``state_s`` is how long it is in its state (waiting, idle in transaction)."""

    pid: int
    application: str
    role: str
    state: str
    query: str
    transaction_s: float | None
    state_s: float | None
    blocked_by: tuple[int, ...] = ()

    def words(self) -> str:
        """Return it as a person would say it."""
        who = f"{self.application or self.role} (pid {self.pid})"
        return f"{who}, {self.state or 'unknown'} for {self.state_s or 0:.0f} s: {self.query}"


@dataclass(frozen=True, slots=True)
class Block:
    """One session that blocks others, itself blocked by nobody; ``waiting`` are all behind it."""

    root: Session
    waiting: tuple[Session, ...]


def sessions(connection: sa.Connection) -> list[Session]:
    """Return the other client sessions of this database. Others' texts need pg_read_all_stats."""
    rows: Iterable[Any] = connection.execute(_SESSIONS, {"text": _TEXT}).mappings()
    return [
        Session(
            **{
                **row,
                "blocked_by": tuple(row["blocked_by"]),
                "query": " ".join(row["query"].split()),
            }
        )
        for row in rows
    ]


def blocks(seen: Iterable[Session]) -> list[Block]:
    """Return who blocks whom, the longest queue first. A deadlock counts as one queue."""
    by_pid = {session.pid: session for session in seen}
    queues: dict[int, list[Session]] = {}
    for session in by_pid.values():
        if session.blocked_by:
            queues.setdefault(_root(session, by_pid), []).append(session)
    found = [
        Block(by_pid[root], tuple(session for session in queue if session.pid != root))
        for root, queue in queues.items()
        if root in by_pid
    ]
    return sorted(found, key=lambda block: -len(block.waiting))


def long_transactions(seen: Iterable[Session], *, longer_than_s: float = LONG_S) -> list[Session]:
    """Return sessions whose transaction is older: VACUUM can remove nothing that they might see."""
    found = [session for session in seen if (session.transaction_s or 0) > longer_than_s]
    return sorted(found, key=lambda session: -(session.transaction_s or 0))


def _root(session: Session, by_pid: dict[int, Session]) -> int:
    passed = {session.pid}
    while session.blocked_by:
        first = min(session.blocked_by)
        if first in passed or first not in by_pid:
            break
        passed.add(first)
        session = by_pid[first]
    return session.pid if not session.blocked_by else min(passed)
