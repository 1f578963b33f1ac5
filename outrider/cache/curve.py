"""How the misses would change with the size of the cache, from a sample of its keys.

SHARDS (Waldspurger et al., "Efficient MRC construction with SHARDS", FAST 2015), fixed size: keys
whose hash lies below a threshold are followed, all others are not; when too many are followed the
threshold falls. For each use of a followed key the number of different keys used since its last
use, divided by the sampled share, is how large a cache that drops the least recently used would
have to be to hit. The difference between the uses seen and those expected of such a sample is
added to the shortest distance (SHARDS-adj), which takes out the luck of catching a hot key or not.

Our own eviction misses less than that; what doubling the room would *add* is close enough.
"""

from __future__ import annotations

from bisect import bisect_left
from math import log2

# A key is followed if its digest's lowest bits are less than the threshold.
SPACE = 1 << 24
LOWEST = SPACE - 1
MOST_FOLLOWED = 4096
# Buckets of distances to each doubling: within two per cent of the size in the middle of one.
_PER_DOUBLING = 16


class MissRatioCurve:
    """The curve of one cache. Holds at most ``most_followed`` keys, about 150 bytes each.

    >>> curve = MissRatioCurve()
    >>> for digest in [1, 2, 3] * 50:
    ...     curve.see(digest)
    >>> curve.at(2), curve.at(3)
    (1.0, 0.02)
    """

    def __init__(self, most_followed: int = MOST_FOLLOWED) -> None:
        self.threshold = SPACE
        self._most = most_followed
        self._clock = 0
        self._last: dict[int, int] = {}  # digest -> when it was used last
        self._order: list[int] = []  # those times, oldest first
        self._distances: dict[int, float] = {}  # bucket -> uses
        self._first = 0.0  # uses without an earlier one: misses at any size

    def see(self, digest: int, times: int = 1) -> None:
        """Note that a followed key was used, several times in a row."""
        if digest & LOWEST >= self.threshold:
            return  # it was followed until a moment ago
        self._clock += 1
        last = self._last.get(digest)
        self._last[digest] = self._clock
        order = self._order
        if last is None:
            self._first += 1
        else:
            at = bisect_left(order, last)
            bucket = _bucket((len(order) - at) * SPACE / self.threshold)
            self._distances[bucket] = self._distances.get(bucket, 0) + 1
            del order[at]
        order.append(self._clock)
        if times > 1:
            self._distances[0] = self._distances.get(0, 0) + times - 1
        if len(self._last) > self._most:
            self._follow_fewer()

    def at(self, capacity: float, uses: int = 0) -> float:
        """Return the share of uses that a cache of this many entries misses; NaN before any.

        ``uses`` is how many there were of all keys, followed or not, for the correction.
        """
        seen = sum(self._distances.values())
        expected = max(self._first, uses * self.threshold / SPACE or seen + self._first)
        if not expected:
            return float("nan")
        bucket = _bucket(capacity)
        beyond = sum(count for other, count in self._distances.items() if other > bucket)
        return min(1.0, (beyond + self._first) / max(expected, beyond + self._first))

    def _follow_fewer(self) -> None:
        """Lower the threshold, so that an eighth of the keys is let go at once."""
        lowest = sorted(digest & LOWEST for digest in self._last)
        threshold = max(1, lowest[len(lowest) * 7 // 8])
        for digest in [each for each in self._last if each & LOWEST >= threshold]:
            del self._last[digest]
        self._order = sorted(self._last.values())
        share = threshold / self.threshold
        self._distances = {bucket: n * share for bucket, n in self._distances.items()}
        self._first *= share
        self.threshold = threshold


def _bucket(distance: float) -> int:
    return int(log2(distance) * _PER_DOUBLING) if distance >= 1 else 0
