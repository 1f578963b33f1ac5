"""A budget's counters over time, kept in memory so that a tick's many windows cost no reads.

Every tick of the last hours, then one for every five minutes, then one an hour: a window is the
difference of two of them, and exact between these. A long window may begin up to its grid earlier
than asked for, which changes its length by less than two per cent.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from outrider.slo.burn import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

FINE_S = 2.25 * 3600.0
MIDDLE_S = 3.1 * 86_400.0
_GRIDS = ((FINE_S, 0.0), (MIDDLE_S, 300.0), (float("inf"), 3600.0))
_THINNED_EVERY = 720


class Track:
    """Times, and counters at each of them that grow from 0 at ``begun_s``."""

    def __init__(self, begun_s: float, kept_s: float) -> None:
        self.begun_s = begun_s
        self._kept_s = kept_s
        self._times: list[float] = []
        self._counts: list[tuple[int, int]] = []
        self._added = 0

    @property
    def newest_s(self) -> float:
        """Return the time of the newest counters."""
        return self._times[-1] if self._times else self.begun_s

    def add(self, at_s: float, good: int, total: int) -> None:
        """Take the counters of a tick; one that is not newer than all others is passed over."""
        if self._times and at_s <= self._times[-1]:
            return
        self._times.append(at_s)
        self._counts.append((good, total))
        self._added += 1
        if self._added % _THINNED_EVERY == 0:
            self.thin()

    def window(self, span_s: float) -> Counts:
        """Return what happened in the time before the newest tick."""
        if not self._times:
            return Counts(0, 0, 0.0)
        start_s = self._times[-1] - span_s
        place = bisect_right(self._times, start_s) - 1
        measured_s = min(span_s, self._times[-1] - self.begun_s)
        good, total = self._counts[place] if place >= 0 else (0, 0)
        if place < 0 and self.begun_s < start_s:  # what was before is forgotten
            good, total = self._counts[0]
            measured_s = self._times[-1] - self._times[0]
        good, total = self._counts[-1][0] - good, self._counts[-1][1] - total
        return Counts(total - good, total, measured_s / span_s if span_s else 0.0)

    def windows(self, spans_s: Sequence[float]) -> dict[float, Counts]:
        """Return several windows, by their length."""
        return {span_s: self.window(span_s) for span_s in spans_s}

    def thin(self) -> None:
        """Forget what no window needs."""
        newest_s = self.newest_s
        kept, last = [], (-1, -1.0)
        for place in range(len(self._times) - 1, -1, -1):
            age_s = newest_s - self._times[place]
            if age_s > self._kept_s + _GRIDS[-1][1]:
                break
            level = next(at for at, (until_s, _) in enumerate(_GRIDS) if age_s <= until_s)
            grid_s = _GRIDS[level][1]
            cell = (level, self._times[place] // grid_s) if grid_s else (0, self._times[place])
            if cell != last:  # the newest of each cell, as in the store's tiers
                kept.append(place)
                last = cell
        self._times = [self._times[place] for place in reversed(kept)]
        self._counts = [self._counts[place] for place in reversed(kept)]
