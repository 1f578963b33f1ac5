"""What a cache learns of its use: from a sample of its keys, and never while a hit waits.

A hit leaves nothing but a higher counter on its entry. Every so many new entries the counters of
the sampled ones are read, and the shadows and the curve are told. A key used once or a hundred
times between two readings is a key that was used: that loses the order within a thirtieth of the
capacity, which the choice of a shape was measured not to miss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.cache.choice import Chooser
from outrider.cache.curve import LOWEST, MissRatioCurve

if TYPE_CHECKING:
    from outrider.cache.eviction import Shape, Slot

# Readings to each turnover of the cache: of the few keys that the shadows see, and of the more that
# the curve follows.
_SHADOW_READINGS, _CURVE_READINGS = 32, 8


class Learner:
    """Watches the slots of one cache. Not thread-safe; the cache holds its lock."""

    def __init__(self, capacity: int) -> None:
        self.curve = MissRatioCurve()
        self._shadowed: dict[Slot, int] = {}  # slot -> uses that were told
        self._followed: dict[Slot, int] = {}
        self.resize(capacity)

    def resize(self, capacity: int) -> None:
        """Try the shapes anew for another capacity."""
        self.chooser = Chooser(capacity)
        self._between = self._until_read = max(1, capacity // _SHADOW_READINGS)
        self._until_followed = _SHADOW_READINGS // _CURVE_READINGS

    @property
    def shape(self) -> Shape:
        """The shape that suits best so far."""
        return self.chooser.shape

    def comes(self, slot: Slot) -> None:
        """Note a new entry."""
        digest = slot.digest
        if not digest & self.chooser.mask:
            self._shadowed[slot] = 0
            slot.is_watched = True
            self.chooser.see(digest)
        if digest & LOWEST < self.curve.threshold:
            self._followed[slot] = 0
            slot.is_watched = True
            self.curve.see(digest)
        self._until_read -= 1
        if not self._until_read:
            self._until_read = self._between
            self._read_shadowed()
            self._until_followed -= 1
            if not self._until_followed:
                self._until_followed = _SHADOW_READINGS // _CURVE_READINGS
                self.read()

    def goes(self, slot: Slot) -> None:
        """Note that a watched entry leaves, for whatever reason."""
        uses = slot.uses + slot.served
        if self._shadowed.pop(slot, uses) != uses:
            self.chooser.see(slot.digest)
        told = self._followed.pop(slot, uses)
        if told != uses:
            self.curve.see(slot.digest, uses - told)

    def read(self) -> None:
        """Tell the curve of the uses since the last reading."""
        followed, curve = self._followed, self.curve
        for slot, told in list(followed.items()):
            if slot.digest & LOWEST >= curve.threshold:  # it follows fewer by now
                del followed[slot]
                continue
            uses = slot.uses + slot.served
            if uses != told:
                followed[slot] = uses
                curve.see(slot.digest, uses - told)

    def _read_shadowed(self) -> None:
        shadowed = self._shadowed
        for slot, told in shadowed.items():
            uses = slot.uses + slot.served
            if uses != told:
                shadowed[slot] = uses
                self.chooser.see(slot.digest)
