"""The eviction policies that ours is measured beside: simple, exact, and checked by known values.

Each takes the keys of a trace and a capacity in entries, gets each key and inserts it on a miss,
and returns the share of hits. S3-FIFO after Yang et al. (SOSP 2023): a small queue of a tenth,
promotion at two hits, a ghost as large as the main queue. SIEVE after Zhang et al. (NSDI 2024).
W-TinyLFU after Einziger et al. (TOS 2017): a window of one per cent, adjusted by hill climbing, a
main part of 80 per cent protected, admission by a 4-bit count-min sketch that is halved. LFU counts
what is in the cache only. Belady's optimum evicts what is needed last.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def lru(keys: Sequence[int], capacity: int) -> float:
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in keys:
        if key in held:
            hits += 1
            held.move_to_end(key)
        else:
            if len(held) >= capacity:
                held.popitem(last=False)
            held[key] = None
    return hits / len(keys)


def lfu(keys: Sequence[int], capacity: int) -> float:
    """Evict the least used, of those the one that came to its count first."""
    counts: dict[int, int] = {}
    levels: dict[int, OrderedDict[int, None]] = {}
    least = hits = 0
    for key in keys:
        count = counts.get(key, 0)
        if count:
            hits += 1
            level = levels[count]
            del level[key]
            if not level:
                del levels[count]
                if least == count:
                    least = count + 1
        else:
            if len(counts) >= capacity:
                victim, _ = levels[least].popitem(last=False)
                if not levels[least]:
                    del levels[least]
                del counts[victim]
            least = 1
        counts[key] = count + 1
        levels.setdefault(count + 1, OrderedDict())[key] = None
    return hits / len(keys)


def sieve(keys: Sequence[int], capacity: int) -> float:
    """Keep one queue; a hand goes from the oldest to the newest and takes what was not visited."""
    visited: dict[int, bool] = {}
    newer: dict[int, int] = {}
    older: dict[int, int] = {}
    none = -1
    newest = oldest = hand = none
    hits = 0
    for key in keys:
        if key in visited:
            hits += 1
            visited[key] = True
            continue
        if len(visited) >= capacity:
            if hand == none:
                hand = oldest
            while visited[hand]:
                visited[hand] = False
                hand = newer[hand] if newer[hand] != none else oldest
            before, after = older.pop(hand), newer.pop(hand)
            del visited[hand]
            if before == none:
                oldest = after
            else:
                newer[before] = after
            if after == none:
                newest = before
            else:
                older[after] = before
            hand = after
        visited[key] = False
        older[key], newer[key] = newest, none
        if newest == none:
            oldest = key
        else:
            newer[newest] = key
        newest = key
    return hits / len(keys)


def s3_fifo(keys: Sequence[int], capacity: int) -> float:  # noqa: C901 - as published
    small_most = max(1, capacity // 10)
    main_most = capacity - small_most
    small: deque[int] = deque()
    main: deque[int] = deque()
    uses: dict[int, int] = {}
    ghosts: OrderedDict[int, None] = OrderedDict()
    hits = 0

    def from_main() -> None:
        while main:
            key = main.popleft()
            if uses[key] > 0:
                uses[key] -= 1
                main.append(key)
            else:
                del uses[key]
                return

    def evict() -> None:
        if main and len(small) < small_most:
            from_main()
            return
        while small:
            key = small.popleft()
            if uses[key] >= 2:
                uses[key] = 0
                main.append(key)
                if len(main) > main_most:
                    from_main()
                    return
            else:
                del uses[key]
                ghosts[key] = None
                if len(ghosts) > max(1, main_most):
                    ghosts.popitem(last=False)
                return
        from_main()

    for key in keys:
        count = uses.get(key)
        if count is not None:
            hits += 1
            if count < 3:
                uses[key] = count + 1
            continue
        was_ghost = key in ghosts
        if was_ghost:
            del ghosts[key]
        while len(uses) >= capacity:
            evict()
        uses[key] = 0
        (main if was_ghost else small).append(key)
    return hits / len(keys)


class _Sketch:
    """A count-min sketch of four rows, counters up to 15, halved after ten times the capacity."""

    def __init__(self, capacity: int) -> None:
        self._mask = (4 << max(4, (capacity - 1).bit_length())) - 1
        self._rows = [bytearray(self._mask + 1) for _ in range(4)]
        self._added, self._most = 0, 10 * capacity
        self._places: dict[int, tuple[int, ...]] = {}

    def _place(self, key: int) -> tuple[int, ...]:
        place = self._places.get(key)
        if place is None:
            place = tuple(hash((key, row)) & self._mask for row in range(4))
            self._places[key] = place
        return place

    def add(self, key: int) -> None:
        for row, at in zip(self._rows, self._place(key), strict=True):
            if row[at] < 15:
                row[at] += 1
        self._added += 1
        if self._added >= self._most:
            self._added //= 2
            halved = bytes(count >> 1 for count in range(256))
            self._rows = [row.translate(halved) for row in self._rows]

    def count(self, key: int) -> int:
        return min(row[at] for row, at in zip(self._rows, self._place(key), strict=True))


def w_tinylfu(keys: Sequence[int], capacity: int) -> float:  # noqa: C901, PLR0915 - as published
    sketch = _Sketch(capacity)
    window: OrderedDict[int, None] = OrderedDict()
    probation: OrderedDict[int, None] = OrderedDict()
    protected: OrderedDict[int, None] = OrderedDict()
    window_most = max(1, round(capacity * 0.01))
    step, sample = 0.0625 * capacity, 10 * capacity
    hits = sampled = sampled_hits = 0
    last_ratio = -1.0

    def trim() -> None:
        """Move what is too much for the window to the main part, and evict the loser."""
        while len(protected) > int((capacity - window_most) * 0.8):
            key, _ = protected.popitem(last=False)
            probation[key] = None
        while len(window) > window_most:
            candidate, _ = window.popitem(last=False)
            if len(window) + len(probation) + len(protected) + 1 <= capacity:
                probation[candidate] = None
                continue
            main = probation or protected
            if not main:
                continue
            victim = next(iter(main))
            if sketch.count(candidate) > sketch.count(victim):
                del main[victim]
                probation[candidate] = None
        while len(window) + len(probation) + len(protected) > capacity:
            (probation or protected or window).popitem(last=False)

    for key in keys:
        sketch.add(key)
        hit = True
        if key in window:
            window.move_to_end(key)
        elif key in protected:
            protected.move_to_end(key)
        elif key in probation:
            del probation[key]
            protected[key] = None
        else:
            hit = False
            window[key] = None
        hits += hit
        sampled_hits += hit
        sampled += 1
        if sampled >= sample:
            ratio = sampled_hits / sampled
            if last_ratio >= 0:
                if ratio < last_ratio:
                    step = -step
                window_most = max(1, min(capacity - 1, round(window_most + step))) or 1
                step = (
                    0.0625 * capacity * (1 if step > 0 else -1)
                    if abs(ratio - last_ratio) > 0.05
                    else step * 0.98
                )
            last_ratio, sampled, sampled_hits = ratio, 0, 0
        trim()
    return hits / len(keys)


def belady(keys: Sequence[int], capacity: int) -> float:
    never = len(keys)
    following = [never] * len(keys)
    last: dict[int, int] = {}
    for at in range(len(keys) - 1, -1, -1):
        following[at] = last.get(keys[at], never)
        last[keys[at]] = at
    needed: dict[int, int] = {}  # key -> when it is needed next
    farthest: list[tuple[int, int]] = []
    hits = 0
    for at, key in enumerate(keys):
        if key in needed:
            hits += 1
        elif len(needed) >= capacity:
            while True:
                negative, victim = heapq.heappop(farthest)
                if needed.get(victim) == -negative:
                    del needed[victim]
                    break
        needed[key] = following[at]
        heapq.heappush(farthest, (-following[at], key))
    return hits / len(keys)


POLICIES: dict[str, Callable[[Sequence[int], int], float]] = {
    "LRU": lru,
    "LFU": lfu,
    "W-TinyLFU": w_tinylfu,
    "SIEVE": sieve,
    "S3-FIFO": s3_fifo,
    "Belady": belady,
}
