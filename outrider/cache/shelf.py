"""What a process keeps of a namespace: memory for hits, and a reserve behind it.

*Memory* holds only what may be served without a second thought, because hits read it directly. The
*reserve* holds the same values until they die: fresh ones that are due for a refresh, stale ones,
remembered errors, and, once the connection to Redis was lost, everything that memory held. That is
not trusted any more, but better than nothing while Redis is away.

Whoever changes a shelf holds the lock of the cache's flights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from outrider.cache.memory import MemoryCache

if TYPE_CHECKING:
    from outrider.cache.held import Held
    from outrider.clock import Clock

# Names of keys that have gone from memory are dropped when there are so many times the capacity.
_SWEEP_AT = 4


class Shelf:
    """The values of one namespace in this process."""

    def __init__(
        self, capacity: int, *, clock: Clock, has_memory: bool = True, has_reserve: bool = True
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._has_memory = has_memory
        self._has_reserve = has_reserve
        self.begin()

    def begin(self) -> None:
        """Be empty and new, as at the start and in a forked child."""
        self.memory = MemoryCache(self._capacity, clock=self._clock)
        self._reserve = (
            MemoryCache(self._capacity, clock=self._clock) if self._has_reserve else None
        )
        self.is_trusted = True
        self._most_tagged = _SWEEP_AT * self._capacity
        self._tagged: dict[str, dict[str, None]] = {}
        self._tagged_count = 0

    def put(self, key: str, held: Held, *, most_s: float = math.inf) -> None:
        """Keep a value: in memory until it is due for a refresh, or for ``most_s`` at most."""
        now_s = self._clock.monotonic()
        if held.error is None and self._has_memory:
            self.memory.set(key, held, min(held.refresh_s - now_s, most_s))
        else:  # a hit would take an error for a value
            self.memory.delete(key)
        if self._reserve is not None:
            self._reserve.set(key, held, min(held.dies_s - now_s, most_s))
        for tag in held.tags:
            self._tag(tag, key)

    def recall(self, key: str, held: Held) -> None:
        """Put into memory again what the reserve still has."""
        if self._has_memory and self.reserved(key) is held:
            self.memory.set(key, held, held.refresh_s - self._clock.monotonic())

    def reserved(self, key: str) -> Held | None:
        """Return what is known of a key that is not dead, fresh or stale, value or error."""
        held: Held | None = None if self._reserve is None else self._reserve.get(key)
        return held

    def drop(self, key: str) -> None:
        """Forget a key."""
        self.memory.delete(key)
        if self._reserve is not None:
            self._reserve.delete(key)

    def drop_tag(self, tag: str) -> list[str]:
        """Forget all keys that bear a tag. Return them."""
        dropped = list(self._tagged.pop(tag, ()))
        self._tagged_count -= len(dropped)
        for key in dropped:
            self.drop(key)
        return dropped

    def distrust(self) -> None:
        """Take everything out of the reach of hits; the reserve keeps it for an outage."""
        self.is_trusted = False
        self.memory.clear()

    def clear(self) -> None:
        """Forget everything. What comes from now on is trusted."""
        self.is_trusted = True
        self.memory.clear()
        if self._reserve is not None:
            self._reserve.clear()
        self._tagged.clear()
        self._tagged_count = 0

    def _tag(self, tag: str, key: str) -> None:
        tagged = self._tagged.setdefault(tag, {})
        if key in tagged:
            return
        tagged[key] = None
        self._tagged_count += 1
        if self._tagged_count > self._most_tagged:
            self._sweep()

    def _sweep(self) -> None:
        """Drop the names of keys that are gone; if few are, look again when twice as many came."""
        for tag, tagged in list(self._tagged.items()):
            for key in [key for key in tagged if not self._holds(key)]:
                del tagged[key]
            if not tagged:
                del self._tagged[tag]
        self._tagged_count = sum(map(len, self._tagged.values()))
        self._most_tagged = max(self._most_tagged, 2 * self._tagged_count)

    def _holds(self, key: str) -> bool:
        return self.memory.get(key) is not None or self.reserved(key) is not None
