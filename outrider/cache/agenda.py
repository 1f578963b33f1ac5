"""What falls due when, in all namespaces: a planner each, fed from the log of uses in Redis.

The log is the only memory: a stream a namespace, of uses and of the loads that were planned. Each
process that plans keeps planners of its own and reads on where it stopped; one that starts, or
takes over, reads the whole log and comes to the same state, loads included. So a restart loses
nothing, nobody pickles a planner, and two planners never decide twice: what fell due before the
last plan's horizon was that plan's to decide.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from outrider.cache import keys, usage
from outrider.cache.planner import WarmingPlanner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import redis

MOST_KEYS = 10_000  # of one namespace: 8 MB
MOST_DUE = 1000  # planned at once for one namespace
_STATE_TTL_S = 3600


class Due(NamedTuple):
    """A key to load at a time."""

    namespace: str
    key: str
    at_s: float


class Book:
    """The planner of one namespace, and how far it has read."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.planner: WarmingPlanner | None = None
        self.loader = ""
        self._read = "0-0"

    def catch_up(self, client: redis.Redis, namespace: str, budget: float) -> None:
        """Read what was logged since the last time."""
        entries = cast(
            "list[tuple[bytes, dict[bytes, bytes]]]",
            client.xrange(keys.log(namespace), f"({self._read}", "+"),
        )
        for number, entry in entries:
            self._read = number.decode()
            self._take(entry, budget)
        if self.planner is not None:
            self.planner.budget.share = budget

    def plan(self, now_s: float, since_s: float, until_s: float) -> list[tuple[str, float]]:
        """Return ``(key, time)`` of what falls due until then; until ``since_s`` others did."""
        planner = self.planner
        if planner is None:
            return []
        planner.pass_by(min(since_s, now_s))
        found: list[tuple[str, float]] = []
        while len(found) < MOST_DUE:
            due_s = planner.next_due_s()
            if due_s is None or due_s > until_s:
                break
            at_s = max(due_s, now_s)
            found += [(str(key), at_s) for key in planner.due(at_s)]
        return found

    def state(self) -> dict[str, Any]:
        """Return what an operator wants to know."""
        planner = self.planner
        if planner is None:
            return {}
        counts, budget = planner.counts, planner.budget
        return {
            "ahead": counts.ahead, "useful": counts.useful, "wasted": counts.wasted,
            "refused": counts.refused, "extra": budget.extra, "demand": budget.shadow_loads,
            "budget": budget.share, "price": round(planner.price.at, 3), "keys": len(planner),
            "off": planner.off or "",
        }  # fmt: skip

    def _take(self, entry: Mapping[bytes, bytes], budget: float) -> None:
        try:
            own = entry.get(b"by", b"").decode() == self.writer
            planned = [] if own else _pairs(entry.get(b"planned"))
            used = _pairs(entry.get(b"uses"))
            ttl_s = float(entry.get(b"ttl_s", 0))
        except (msgspec.MsgspecError, ValueError):
            return  # written by a version that is none of ours
        if ttl_s > 0 and (self.planner is None or self.planner.ttl_s != ttl_s):
            self.planner = WarmingPlanner(
                ttl_s=ttl_s, budget=budget, lead_s=LEAD_S, most_keys=MOST_KEYS
            )
        if self.planner is None:
            return
        self.loader = entry.get(b"loader", b"").decode() or self.loader
        for key, at_s in sorted(used, key=lambda use: use[1]):
            self.planner.observe(key, at_s)
        for key, at_s in planned:
            self.planner.loaded(key, at_s)


# Planned, queued and loaded by then; a value is not loaded much before it is needed.
LEAD_S = 0.5


class Agenda:
    """The books of one process."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}
        self._writer = os.urandom(8).hex()  # its own plans it need not read again

    def catch_up(
        self, client: redis.Redis, *, now_s: float, budget_of: Callable[[str], float]
    ) -> None:
        """Read the logs of all namespaces that are in use."""
        names = usage.namespaces(client, now_s)
        for gone in self._books.keys() - set(names):
            del self._books[gone]
        for namespace in names:
            book = self._books.setdefault(namespace, Book(self._writer))
            book.catch_up(client, namespace, budget_of(namespace))

    def plan(
        self, client: redis.Redis, *, now_s: float, since_s: float, until_s: float
    ) -> list[Due]:
        """Return what is to be loaded when until ``until_s``, and write it into the log."""
        wanted: list[Due] = []
        for namespace, book in self._books.items():
            found = book.plan(now_s, since_s, until_s)
            wanted += [Due(namespace, key, at_s) for key, at_s in found]
            self._write(client, namespace, found, book.state())
        return wanted

    def loader(self, namespace: str) -> str:
        """Return the name of the loader that was used last in a namespace, or nothing."""
        book = self._books.get(namespace)
        return book.loader if book else ""

    def shortest_ttl_s(self) -> float | None:
        """Return the shortest time to live of all namespaces."""
        lives = [book.planner.ttl_s for book in self._books.values() if book.planner]
        return min(lives, default=None)

    def _write(
        self,
        client: redis.Redis,
        namespace: str,
        found: Iterable[tuple[str, float]],
        state: dict[str, Any],
    ) -> None:
        with client.pipeline(transaction=False) as pipe:
            if planned := list(found):
                message: Any = {"planned": msgspec.msgpack.encode(planned), "by": self._writer}
                pipe.xadd(keys.log(namespace), message, maxlen=usage.MOST_ENTRIES, approximate=True)
            if state:
                pipe.hset(keys.plan(namespace), mapping=cast("Any", state))
                pipe.expire(keys.plan(namespace), _STATE_TTL_S)
            pipe.execute()


def _pairs(message: bytes | None) -> list[tuple[str, float]]:
    return msgspec.msgpack.decode(message, type=list[tuple[str, float]]) if message else []
