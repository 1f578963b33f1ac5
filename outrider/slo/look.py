"""One row of a host as indicators see it: values, and what counters gained since the row before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outrider.samples import is_counter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from outrider.samples import Values


@dataclass(slots=True)
class Look:
    """A row at ``at_s``. ``kept`` is what the row before left; what this one leaves replaces it.

    ``ticks`` says how many ticks passed since the row before: 1 when none is missing. ``read``
    returns the histogram of a timing since then.
    """

    values: Values
    at_s: float
    interval_s: float
    kept: dict[str, float]
    ticks: int = 1
    read: Callable[[str], Mapping[int, int]] = lambda _series: {}
    _gained: dict[str, int] = field(default_factory=dict)
    _sketches: dict[str, Mapping[int, int]] = field(default_factory=dict)

    def increase(self, series: str) -> int:
        """Return how much a counter grew; 0 at its first sight. One that fell began anew."""
        if series in self._gained:  # asked by another objective
            return self._gained[series]
        value, before = self.values.get(series, math.nan), self.kept.get(series)
        if not math.isfinite(value):
            return 0
        self.kept[series] = value
        gained = 0.0 if before is None else value - before if value >= before else value
        self._gained[series] = int(gained)
        return self._gained[series]

    def age_s(self, series: str) -> float | None:
        """Return since when a counter did not grow, or the value of a gauge. None: not known."""
        value = self.values.get(series, math.nan)
        if not is_counter(series):
            return value if math.isfinite(value) else None
        grown = f"{series}@"
        if math.isfinite(value) and (self.increase(series) or grown not in self.kept):
            self.kept[grown] = self.at_s
        return self.at_s - self.kept[grown] if grown in self.kept else None

    def sketch(self, series: str) -> Mapping[int, int]:
        """Return the histogram of what ended since the row before."""
        if series not in self._sketches:
            self._sketches[series] = self.read(series)
        return self._sketches[series]
