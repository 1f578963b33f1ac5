"""Which shape suits a cache: small shadows of it try a few, each on the same sample of the keys.

A shadow is the cache in miniature (Waldspurger et al., "Cache modeling and optimization using
miniature simulations", ATC 2017): of one key in 2^n it sees every use, and it has a 2^n-th of the
room. It holds digests, no values. At most :data:`SHADOW_SLOTS` a shape are held, however large the
cache is. The shape that hits most is taken, if the lead is more than chance: the difference of two
shadows that see the same stream grows like the square root of the misses.
"""

from __future__ import annotations

from math import sqrt

from outrider.cache.eviction import Queues, Shape, Slot

# The first suits most; then what is left of bursts, of loops and scans, of a stable few, of drift.
SHAPES = (
    Shape(),
    Shape(recent=0.25, window=0.8, memory=0.3),
    Shape(recent=0.03, window=0.8, memory=2.0),
    Shape(recent=0.03, window=0.5, memory=0.3),
    Shape(recent=0.40, window=0.5, memory=0.3),
)
SHADOW_SLOTS = 64
# Old uses count half after so many times the shadow's size: workloads change with the hours.
_LIFE = 150
_LEAD = 0.6  # in square roots of the present shape's misses


class Shadow:
    """A cache of digests under one shape."""

    def __init__(self, limit: int, shape: Shape) -> None:
        self._limit = limit
        self._slots: dict[int, Slot] = {}
        self._queues = Queues(limit, shape)

    def hits(self, digest: int) -> bool:
        """Use a key, taking it in if it is missing. Return whether it was there."""
        slot = self._slots.get(digest)
        if slot is not None:
            slot.uses += 1
            return True
        if len(self._slots) >= self._limit:
            victim = self._queues.evict()
            if victim is not None:
                del self._slots[victim.digest]
        self._slots[digest] = slot = Slot(digest)
        self._queues.admit(slot)
        return False


class Chooser:
    """Tries the shapes for a cache of ``capacity`` entries.

    ``mask`` says whose uses it wants: those with ``digest & mask == 0``.
    """

    def __init__(self, capacity: int) -> None:
        self.mask = 0
        while capacity // (self.mask + 1) > SHADOW_SLOTS:
            self.mask = self.mask * 2 + 1
        room = max(1, capacity // (self.mask + 1))
        self.shape = SHAPES[0]
        self._shadows = [Shadow(room, shape) for shape in SHAPES]
        self._hits = [0.0] * len(SHAPES)
        self._uses = 0.0
        self._most_uses = _LIFE * room
        self._between = self._until_judged = max(1, room // 4)

    def see(self, digest: int) -> None:
        """Note a use; from now and then on ``shape`` is another."""
        hits = self._hits
        for number, shadow in enumerate(self._shadows):
            if shadow.hits(digest):
                hits[number] += 1
        self._uses += 1
        self._until_judged -= 1
        if not self._until_judged:
            self._judge()

    def _judge(self) -> None:
        self._until_judged = self._between
        if self._uses > self._most_uses:
            self._uses /= 2
            self._hits[:] = [hits / 2 for hits in self._hits]
        best = max(range(len(SHAPES)), key=self._hits.__getitem__)
        now = SHAPES.index(self.shape)
        misses = self._uses - self._hits[now]
        if self._hits[best] - self._hits[now] > _LEAD * sqrt(max(1.0, misses)):
            self.shape = SHAPES[best]
