"""What functions make of a window: arrays of shape ``[ticks, series]``, the newest row last.

NaN is a tick without the series. What can't be said of a series is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from outrider.alerts.expression import Over

    Floats = NDArray[np.float64]


def apply(function: Over, times_s: Floats, values: Floats) -> Floats:
    """Return one number a series, shape ``[series]``.

    >>> apply("increase", np.arange(4.0), np.array([[5.0], [7.0], [1.0], [2.0]]))
    array([4.])
    >>> apply("p95", np.arange(3.0), np.array([[1.0], [np.nan], [2.0]]))
    array([1.95])
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found: Floats = _FUNCTIONS[function](times_s, values)
    return found


def _increase(times_s: Floats, values: Floats) -> Floats:
    # A counter that falls was restarted: what it has then is growth since the restart.
    del times_s
    filled, known = _filled(values)
    steps = np.diff(filled, axis=0)
    steps = np.where(steps < 0, filled[1:], steps)
    total = np.where(np.isnan(steps), 0.0, steps).sum(axis=0)
    return np.where((known >= 2) & ~np.isnan(values[-1]), total, np.nan)  # noqa: PLR2004 - a step


def _rate(times_s: Floats, values: Floats) -> Floats:
    there = ~np.isnan(values)
    first_s = times_s[there.argmax(axis=0)]
    found: Floats = _increase(times_s, values) / (times_s[-1] - first_s)
    return found


def _delta(times_s: Floats, values: Floats) -> Floats:
    del times_s
    there = ~np.isnan(values)
    first = np.take_along_axis(values, there.argmax(axis=0)[None], axis=0)[0]
    found: Floats = np.where(there.sum(axis=0) >= 2, values[-1] - first, np.nan)  # noqa: PLR2004
    return found


def _changes(times_s: Floats, values: Floats) -> Floats:
    del times_s
    filled, known = _filled(values)
    steps = np.diff(filled, axis=0)
    moved = ((steps != 0) & ~np.isnan(steps)).sum(axis=0)
    found: Floats = np.where(known > 0, moved, np.nan)
    return found


def _count(times_s: Floats, values: Floats) -> Floats:
    del times_s
    found: Floats = (~np.isnan(values)).sum(axis=0).astype(np.float64)
    return found


def _sum(times_s: Floats, values: Floats) -> Floats:
    del times_s
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(axis=0)
    found: Floats = np.where(there.any(axis=0), total, np.nan)
    return found


def _avg(times_s: Floats, values: Floats) -> Floats:
    found: Floats = _sum(times_s, values) / _count(times_s, values)
    return found


def _min(times_s: Floats, values: Floats) -> Floats:
    del times_s
    found: Floats = np.fmin.reduce(values, axis=0)
    return found


def _max(times_s: Floats, values: Floats) -> Floats:
    del times_s
    found: Floats = np.fmax.reduce(values, axis=0)
    return found


def _stddev(times_s: Floats, values: Floats) -> Floats:
    off = values - _avg(times_s, values)
    found: Floats = np.sqrt(_avg(times_s, off * off))
    return found


def _quantile(share: float) -> Callable[[Floats, Floats], Floats]:
    def quantile(times_s: Floats, values: Floats) -> Floats:
        ordered = np.sort(values, axis=0)  # NaN comes last
        place = share * (_count(times_s, values) - 1)
        below = np.maximum(np.floor(place), 0).astype(np.int64)
        above = np.maximum(np.ceil(place), 0).astype(np.int64)
        low = np.take_along_axis(ordered, below[None], axis=0)[0]
        high = np.take_along_axis(ordered, above[None], axis=0)[0]
        found: Floats = np.where(below == above, low, low + (high - low) * (place - below))
        return found

    return quantile


def _filled(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return values with gaps filled by what was before, and how many there were."""
    there = ~np.isnan(values)
    if there.all():
        return values, there.sum(axis=0)
    at = np.where(there, np.arange(len(values))[:, None], 0)
    np.maximum.accumulate(at, axis=0, out=at)
    return np.take_along_axis(values, at, axis=0), there.sum(axis=0)


_FUNCTIONS: dict[Over, Callable[[Floats, Floats], Floats]] = {
    "increase": _increase, "rate": _rate, "delta": _delta, "changes": _changes,
    "avg": _avg, "min": _min, "max": _max, "sum": _sum, "count": _count, "stddev": _stddev,
    "p50": _quantile(0.5), "p90": _quantile(0.9), "p95": _quantile(0.95), "p99": _quantile(0.99),
}  # fmt: skip
