"""What is usual within a window: the median of a series, and how far it strays from it.

What is normal over days, learned a tick at a time, is in ``baseline_bank``.

Median and median absolute deviation (Hampel 1974) instead of mean and standard deviation: half of
the history may be wrong before they are. 1.4826 makes the deviation that of a normal distribution;
where it is zero, 1.2533 does the same for the mean absolute deviation (Iglewicz and Hoaglin 1993).
A counter, which only grows, is judged by its increase a tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from outrider.samples import Window

_NORMAL = 1.4826
_NORMAL_OF_MEAN = 1.2533
# Below this share of the median a deviation is no news: 2 % more memory is no anomaly, however
# steady it was before.
_LEAST_RELATIVE = 0.05


def steps(window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values to judge, and which series are counters.

    Shape ``[ticks - 1, series]``: increases of counters, values of the rest. A series is a counter
    when it never fell and grew at half of the ticks or more: memory that got a page grew and did
    not fall, but is measured by its level.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is no change
        changes = np.diff(window.values, axis=0)
    known = np.where(np.isfinite(changes), changes, 0.0)
    grown, measured = (known > 0).sum(axis=0), np.isfinite(changes).sum(axis=0)
    counters = np.logical_and.reduce(known >= 0) & (grown > 0) & (2 * grown >= measured)
    return np.where(counters, changes, window.values[1:]), counters


def learn(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return center and spread of each column; NaN where a column has no value.

    >>> center, spread = learn(np.array([[1.0], [2.0], [3.0], [2.0], [90.0]]))
    >>> center.tolist(), spread.round(2).tolist()
    ([2.0], [1.48])
    """
    finite = np.where(np.isfinite(values), values, np.nan)
    known = np.isfinite(values).any(axis=0)
    center, spread = np.full((2, values.shape[1]), np.nan)
    if known.any():
        with np.errstate(over="ignore"):  # two values at the ends of what a float can hold
            center[known] = np.nanmedian(finite[:, known], axis=0)
            strays = np.abs(finite[:, known] - center[known])
            usual = _NORMAL * np.nanmedian(strays, axis=0)
            # More than half are equal, as with a queue that is seldom used: the rest must do.
            rare = _NORMAL_OF_MEAN * np.nanmean(strays, axis=0)
            spread[known] = np.where(usual > 0, usual, rare)
        spread = np.maximum(spread, _LEAST_RELATIVE * np.abs(center))
    return center, spread
