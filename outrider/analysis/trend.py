"""Where series are heading: a robust slope, and how sure we are that there is one.

The slope is Theil and Sen's median of pairwise slopes (Sen 1968), the confidence that of the
Mann-Kendall test (Mann 1945, Kendall 1975): neither is moved by a few wild values. Neighbouring
samples are not independent, so both are taken from block means, which are less dependent.
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


FLAT = Trend(0.0, 0.0)


def of(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> Trend:
    """Return the trend of one series; flat with no confidence when there is too little of it.

    >>> trend = of(np.arange(60) * 10.0, np.arange(60) * 2.0)
    >>> round(trend.slope_per_h), trend.confidence > 0.99
    (720, True)
    """
    keep = np.isfinite(values)
    return of_columns(times_s[keep], values[keep][:, np.newaxis])[0]


def of_columns(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> list[Trend]:
    """Return the trend of each column, shape ``[ticks, series]``, from the values that it has."""
    ticks, series = values.shape
    if ticks < LEAST_SAMPLES or not series:
        return [FLAT] * series
    blocks = min(BLOCKS, ticks // 3)
    starts = np.linspace(0, ticks, blocks, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, ticks))
    when = np.add.reduceat(times_s, starts) / sizes
    first, second = np.triu_indices(blocks, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        level = np.add.reduceat(values, starts, axis=0) / sizes[:, np.newaxis]
        rise = level[second] - level[first]
    whole = np.isfinite(rise).all(axis=0)
    rise = np.where(whole, rise, 0.0)
    slopes = np.median(rise / (when[second] - when[first])[:, np.newaxis], axis=0)
    scores = np.abs(np.sign(rise).sum(axis=0))
    deviation = math.sqrt(blocks * (blocks - 1) * (2 * blocks + 5) / 18)
    found = [
        Trend(slope * 3600, math.erf(max(0.0, score - 1) / deviation / math.sqrt(2)))
        for slope, score in zip(slopes.tolist(), scores.tolist(), strict=True)
    ]
    for place in np.flatnonzero(~np.isfinite(values).all(axis=0)):
        found[place] = of(times_s, values[:, place])
    return found
