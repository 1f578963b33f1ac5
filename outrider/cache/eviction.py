"""Which entry goes when the cache is full: three first-in-first-out queues, and bursts count once.

The queues are those of S3-FIFO (Yang et al., SOSP 2023) and Clock2Q+ (2Q with a correlation
window): most keys are asked for once and leave by the small end, the rest live in ``main``.

::

    new ─► window ─► probation ─ not used ─► gone, remembered by its digest
              │          │ used
      promised│          ▼
              └──────► main ─ used since the hand was here: one level up, goes round
                             not used: one level down; at the bottom it is gone

What is ours: a key counts as *used* or *not used* between two looks at it, never how often. Real
requests come in bursts, and a burst says little about the next day. In the window uses don't count
at all. A key that was remembered when it came (``promised``) goes to main after the window. On the
traces we have this closes 40 per cent of the gap from LRU to the optimum where S3-FIFO closes 28,
with one setting for all; :mod:`outrider.cache.choice` picks among a few and makes it 43.

A use only adds one to a counter of the entry, without a lock or an order to keep. So a hit costs
next to nothing, and all the work is done when something must go.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

GONE, WINDOW, PROBATION, MAIN = range(4)
# How often a key may come round unused after it was used in every round.
MOST_LEVELS = 7
# Removed entries stay in their queue until they reach its end, or until there are so many.
_SPARE = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """How the room is divided, as shares of the capacity.

    ``recent`` is that of window and probation together, ``window`` the window's share of it;
    ``memory`` says how many keys that left are remembered.
    """

    recent: float = 0.13
    window: float = 0.6
    memory: float = 1.4


class Slot:
    """What the queues know of an entry. ``uses`` and ``served`` only grow, by anybody, unlocked."""

    __slots__ = ("digest", "is_watched", "level", "place", "promised", "seen", "served", "uses")

    def __init__(self, digest: int) -> None:
        self.digest = digest
        self.uses = 0
        self.served = 0  # uses that went past the cache: see MemoryCache.show
        self.seen = 0
        self.level = 0
        self.place = GONE
        self.promised = False
        self.is_watched = False


class Queues:
    """Orders the slots of one cache. Not thread-safe; the cache holds its lock."""

    def __init__(self, limit: int, shape: Shape) -> None:
        self._window: deque[Any] = deque()
        self._probation: deque[Any] = deque()
        self._main: deque[Any] = deque()
        self._counts = [0, 0, 0, 0]
        self._young: set[int] = set()
        self._old: set[int] = set()
        self.shape = shape
        self.resize(limit)

    def __len__(self) -> int:
        """Return how many slots are held."""
        return sum(self._counts) - self._counts[GONE]

    def __iter__(self) -> Iterator[Any]:
        """Go through what is held, what came last first."""
        for queue in (self._window, self._probation, self._main):
            yield from (slot for slot in reversed(queue) if slot.place)

    def resize(self, limit: int, shape: Shape | None = None) -> None:
        """Divide the room anew; what is too much in a queue leaves as others come."""
        self.limit = limit
        self.shape = shape = shape or self.shape
        self._recent_most = max(1, round(limit * shape.recent))
        self._window_most = int(self._recent_most * shape.window)
        self._main_most = limit - self._recent_most
        # Two generations: between one and two of them are remembered, one and a half on average.
        self._generation = max(1, round(limit * shape.memory / 1.5))

    def admit(self, slot: Slot) -> None:
        """Take in a new slot."""
        digest = slot.digest
        if digest in self._young:
            self._young.discard(digest)
            slot.promised = True
        elif digest in self._old:
            self._old.discard(digest)
            slot.promised = True
        slot.place = WINDOW
        counts = self._counts
        counts[WINDOW] += 1
        window = self._window
        window.append(slot)
        while counts[WINDOW] > self._window_most:
            self._leave_window(window.popleft())

    def forget(self, slot: Slot) -> None:
        """Take out a slot that was removed, and don't remember it."""
        counts = self._counts
        if slot.place:
            counts[slot.place] -= 1
            slot.place = GONE
            counts[GONE] += 1
            if counts[GONE] > _SPARE + len(self):
                self._sweep()

    def evict(self) -> Any:
        """Take out the slot that is worth least, and return it; None when there is none."""
        counts = self._counts
        if counts[WINDOW] + counts[PROBATION] >= self._recent_most or not counts[MAIN]:
            return self._from_recent() or self._from_main()
        return self._from_main() or self._from_recent()

    def _leave_window(self, slot: Slot) -> None:
        counts = self._counts
        if not slot.place:
            counts[GONE] -= 1
            return
        slot.seen = slot.uses + slot.served
        counts[WINDOW] -= 1
        if slot.promised:
            self._settle(slot)
        else:
            slot.place = PROBATION
            counts[PROBATION] += 1
            self._probation.append(slot)

    def _settle(self, slot: Slot) -> None:
        slot.place = MAIN
        self._counts[MAIN] += 1
        self._main.append(slot)

    def _from_recent(self) -> Slot | None:
        counts = self._counts
        while counts[WINDOW] + counts[PROBATION]:
            slot: Slot = (self._probation or self._window).popleft()
            if not slot.place:
                counts[GONE] -= 1
                continue
            counts[slot.place] -= 1
            used = slot.uses + slot.served
            if used != slot.seen or slot.promised:
                slot.seen = used
                self._settle(slot)
                if counts[MAIN] > self._main_most:
                    return self._from_main()
                continue
            slot.place = GONE
            young = self._young
            young.add(slot.digest)
            if len(young) >= self._generation:
                self._old, self._young = young, set()
            return slot
        return None

    def _from_main(self) -> Slot | None:
        main, counts = self._main, self._counts
        while counts[MAIN]:
            slot: Slot = main.popleft()
            if not slot.place:
                counts[GONE] -= 1
                continue
            used = slot.uses + slot.served
            if used != slot.seen:
                slot.seen = used
                if slot.level < MOST_LEVELS:
                    slot.level += 1
                main.append(slot)
            elif slot.level > 1:
                slot.level -= 1
                main.append(slot)
            else:
                counts[MAIN] -= 1
                slot.place = GONE
                return slot
        return None

    def _sweep(self) -> None:
        """Drop what was removed from the middle of the queues."""
        for queue in (self._window, self._probation, self._main):
            held = [slot for slot in queue if slot.place]
            queue.clear()
            queue.extend(held)
        self._counts[GONE] = 0
