"""Where a series is heading: a robust slope, and how sure we are that there is one.

The slope is Theil and Sen's median of pairwise slopes (Sen 1968), the confidence that of the
Mann-Kendall test (Mann 1945, Kendall 1975): neither is moved by a few wild values. Neighbouring
samples are not independent, so the test is run on block means, which are less dependent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCKS = 20
LEAST_SAMPLES = 12


@dataclass(frozen=True, slots=True)
class Trend:
    """``slope_per_h`` in units of the series an hour; ``confidence`` 0 to 1 that it is not flat."""

    slope_per_h: float
    confidence: float


def of(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> Trend:
    """Return the trend of a series; flat with no confidence when there is too little of it.

    >>> trend = of(np.arange(60) * 10.0, np.arange(60) * 2.0)
    >>> round(trend.slope_per_h), trend.confidence > 0.99
    (720, True)
    """
    keep = np.isfinite(values)
    times_s, values = times_s[keep], values[keep]
    if len(values) < LEAST_SAMPLES:
        return Trend(0.0, 0.0)
    blocks = min(BLOCKS, len(values) // 3)
    when = np.array([part.mean() for part in np.array_split(times_s, blocks)])
    level = np.array([part.mean() for part in np.array_split(values, blocks)])
    first, second = np.triu_indices(blocks, 1)
    rise = level[second] - level[first]
    slope = float(np.median(rise / (when[second] - when[first])))
    score = float(np.sign(rise).sum())
    deviation = math.sqrt(blocks * (blocks - 1) * (2 * blocks + 5) / 18)
    z = max(0.0, abs(score) - 1) / deviation
    return Trend(slope * 3600, math.erf(z / math.sqrt(2)))
