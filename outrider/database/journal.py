"""The record of what was changed on a database server: who, when, before, after, how it went.

Kept in Redis, newest first, and written before the server is touched: whatever happens between, a
change can be undone. One change is in flight at a time; one that nobody judged by its deadline (its
watcher died) is taken back by whoever looks next.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from outrider.errors import BadArgument
from outrider.store import keys

if TYPE_CHECKING:
    import redis

KEPT = 200
# In flight: what was begun, and what is being watched.
OPEN = ("applying", "watching")


@dataclass(frozen=True, slots=True)
class Change:
    """One change. ``before`` is what ALTER SYSTEM or ALTER ROLE held; None when it held nothing.

    ``state`` is ``applying``, ``watching``, ``kept``, ``rolled back``, ``undone`` or ``failed``.
    """

    name: str
    after: str
    by: str
    at_s: float
    before: str | None = None
    value_before: str = ""
    role: str | None = None
    state: str = "applying"
    judge_by_s: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(6))

    def words(self) -> str:
        """Say it in one line.

        >>> Change("jit", "off", "ann", 0.0, value_before="on", state="kept").words()
        'jit: on -> off, kept'
        """
        where = f"{self.role}: " if self.role else ""
        return f"{where}{self.name}: {self.value_before} -> {self.after}, {self.state}"


class Journal:
    """The changes of one server. Every method raises ``redis.RedisError`` when Redis is away."""

    def __init__(self, client: redis.Redis, server: str) -> None:
        self._client = client
        self._key = keys.database_changes(server)
        self._lock = client.lock(f"{self._key}:lock", timeout=600, blocking=False)

    def changes(self) -> list[Change]:
        """Return what was done, newest first."""
        return [Change(**json.loads(raw)) for raw in self._client.lrange(self._key, 0, -1)]

    def begin(self, change: Change) -> None:
        """Record a change that is about to be made.

        Raises:
            BadArgument: another is in flight.
        """
        if not self._lock.acquire(blocking=False):
            raise BadArgument("somebody else changes this server now; look again in a minute.")
        try:
            for other in self.changes():
                if other.state in OPEN:
                    raise BadArgument(
                        f"{other.words()} by {other.by}: one change at a time; wait until it is"
                        " judged, or take it back with --undo."
                    )
            self._client.lpush(self._key, json.dumps(asdict(change)))
            self._client.ltrim(self._key, 0, KEPT - 1)
        finally:
            self._lock.release()

    def settle(self, change: Change, state: str, **evidence: Any) -> Change:
        """Record how a change went. Return it as it is now."""
        settled = replace(change, state=state, evidence={**change.evidence, **evidence})
        for place, other in enumerate(self.changes()):
            if other.id == change.id:
                self._client.lset(self._key, place, json.dumps(asdict(settled)))
        return settled

    def last(self, name: str | None = None, role: str | None = None) -> Change | None:
        """Return the newest change that is still in force, of a setting or of any."""
        for change in self.changes():
            if change.state in {*OPEN, "kept"} and (
                name is None or (change.name, change.role) == (name, role)
            ):
                return change
        return None
