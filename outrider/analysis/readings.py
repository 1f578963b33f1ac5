"""Readings as they are judged: the level of a gauge, the rate of a counter.

A counter that fell was restarted: what it has then is growth since the restart. After a gap its
growth is spread over the gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.analysis.table import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

# Beyond this, squares overflow; what measures so is no reading.
MOST = 1e150
_COLUMNS = {"last": (0, np.nan), "last_s": (0, np.nan)}


class Readings:
    """Turn each tick's values into what is judged: counters become rates per second.

    >>> readings = Readings(2)
    >>> counters = np.array([True, False])
    >>> _ = readings.update(0.0, [100.0, 5.0], counters)
    >>> readings.update(10.0, [150.0, 7.0], counters).tolist()
    [5.0, 7.0]
    """

    kind = "readings"

    def __init__(self, count: int = 0) -> None:
        self.table = Table(_COLUMNS, count)
        self.at_s = -np.inf

    def update(self, at_s: float, values: ArrayLike, counters: NDArray[np.bool_]) -> Floats:
        """Return what is judged, shape ``[count]``; NaN where it is not known, or no number.

        A tick that is not newer than the last changes nothing, and nothing of it is known.
        """
        seen = np.asarray(values, dtype=np.float64)
        if not at_s > self.at_s:
            return np.full(self.table.count, np.nan)
        self.at_s = at_s
        seen = np.where(np.abs(seen) < MOST, seen, np.nan)  # also drops what is NaN
        last, last_s = self.table["last"], self.table["last_s"]
        with np.errstate(invalid="ignore"):
            grown = np.where(seen >= last, seen - last, seen)
            rates = grown / (at_s - last_s)
        judged = np.where(counters, np.where(np.isfinite(last), rates, np.nan), seen)
        known = np.isfinite(seen) & counters
        last[known], last_s[known] = seen[known], at_s
        return judged

    def dumps(self) -> bytes:
        """Return the state as bytes."""
        return self.table.dumps(self.kind, self.at_s)

    def loads(self, packed: bytes) -> None:
        """Take the state of a ``dumps``. Raises StoreError, and changes nothing, if damaged."""
        self.at_s = self.table.loads(self.kind, packed)
