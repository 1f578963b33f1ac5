"""A timer wheel: what is due is found without looking at what is not.

Hierarchical as in Varghese and Lauck (SOSP 1987), in one dictionary: an entry is filed under a
*tick* that is rounded down the more the farther its time is, so that a day needs no more buckets
than a minute. When the bucket comes up the entry is due, or is filed again, nearer: four times for
a day. Filing, taking out and coming up cost the same whatever the number of entries.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import Any, Protocol

# Nothing comes up before its time, nor more than this after it.
TICK_S = 1 / 256
_PER_SECOND = 256
_BITS = 6  # buckets to each rounding: 32 to 64


class Filed(Protocol):
    """What can be filed."""

    bucket: dict[Any, None] | None


class Wheel:
    """Entries by the time they are due. Not thread-safe."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Any, None]] = {}
        self._ticks: list[int] = []  # a heap of their names

    def file(self, entry: Filed, due_s: float, now_s: float) -> None:
        """File an entry, under this time alone."""
        if entry.bucket is not None:
            del entry.bucket[entry]
        tick = math.ceil(due_s * _PER_SECOND)
        ahead = tick - int(now_s * _PER_SECOND)
        if ahead >= 1 << _BITS:
            coarse = ahead.bit_length() - _BITS
            tick = tick >> coarse << coarse
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            heappush(self._ticks, tick)
        bucket[entry] = None
        entry.bucket = bucket

    def next_s(self) -> float:
        """Return when something may come up; infinity when nothing will."""
        ticks = self._ticks
        while ticks and not self._buckets[ticks[0]]:
            del self._buckets[heappop(ticks)]
        return ticks[0] / _PER_SECOND if ticks else math.inf

    def take(self, now_s: float, most: int) -> list[Any]:
        """Return entries that came up, at most so many: due, or to be filed again."""
        taken: list[Any] = []
        while len(taken) < most and self.next_s() <= now_s:
            bucket = self._buckets[self._ticks[0]]
            while bucket and len(taken) < most:
                entry = bucket.popitem()[0]
                entry.bucket = None
                taken.append(entry)
        return taken

    def clear(self) -> None:
        """Forget everything; what was filed must not be filed or taken out again."""
        self._buckets.clear()
        self._ticks.clear()


def take_out(entry: Filed) -> None:
    """Take an entry out of the wheel it is in, if any."""
    if entry.bucket is not None:
        del entry.bucket[entry]
        entry.bucket = None
