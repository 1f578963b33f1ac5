"""What lies ahead of a host: limits with their dates, and forecasts of what matters most.

This is the dear part of the analysis, some 3 ms a limit and 30 ms a forecast, so it is made by
``outrider.analyse.baseline`` and shown by every report until the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from outrider.analysis import limits
from outrider.analysis.forecasting import forecast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.analysis.limits import Past
    from outrider.samples import Values

    Floats = NDArray[np.float64]

MOST_FORECASTS = 4
DAY_S = 86_400.0
# With three days or more a forecast knows the day: half hours, a day ahead.
SEASONAL_S, SEASONAL_STEP_S, PER_DAY = 3 * DAY_S, 1800.0, 48
STEPS_BACK, STEPS_AHEAD, LEAST_STEPS = 300, 60, 20
_ALWAYS = ("host.cpu.used_ratio", "host.memory.used_ratio")


class Ahead(msgspec.Struct, frozen=True):
    """A forecast of a series: 95 % of values lie within ``lower`` to ``upper``."""

    series: str
    times_s: list[float]
    mean: list[float]
    lower: list[float]
    upper: list[float]
    limit: float | None = None


class Outlook(msgspec.Struct, frozen=True):
    """Limits and forecasts of a host, as they were at ``at_s``."""

    at_s: float
    limits: list[limits.Limit] = []
    forecasts: list[Ahead] = []


def look(values: Values, past: Past, *, now_s: float, memory_limits: Mapping[str, int]) -> Outlook:
    """Return what lies ahead of a host whose newest row holds ``values``."""
    known = limits.look(values, past, memory_limits=memory_limits)
    ends = {each.series: each.limit for each in known}
    heading = [each.series for each in known if each.eta_s is not None]
    chosen = dict.fromkeys([*heading, *(name for name in _ALWAYS if name in values)])
    made = (ahead(name, *past(name), limit=ends.get(name)) for name in [*chosen][:MOST_FORECASTS])
    return Outlook(now_s, known, [each for each in made if each is not None])


def ahead(
    series: str, times_s: Floats, values: Floats, *, limit: float | None = None
) -> Ahead | None:
    """Forecast a series from its past; None when too little of it is known."""
    keep = np.isfinite(values)
    times_s, values = times_s[keep], values[keep]
    if len(values) < LEAST_STEPS:
        return None
    span_s = float(times_s[-1] - times_s[0])
    seasonal = span_s >= SEASONAL_S
    step_s = SEASONAL_STEP_S if seasonal else max(1.0, span_s / min(STEPS_BACK, len(values) - 1))
    grid = _means(times_s, values, step_s)
    found = forecast(
        grid,
        horizon=PER_DAY if seasonal else min(STEPS_AHEAD, len(grid) // 2),
        period=PER_DAY if seasonal else 1,
    )
    # A share of a whole does not exceed it.
    most = 1.0 if series.endswith("used_ratio") else np.inf
    start_s = float(times_s[-1])
    when = start_s + step_s * np.arange(1, len(found.mean) + 1)
    mean, lower, upper = (
        _short(np.minimum(path, most)) for path in (found.mean, found.lower, found.upper)
    )
    return Ahead(series, when.tolist(), mean, lower, upper, limit)


def _means(times_s: Floats, values: Floats, step_s: float) -> Sequence[float]:
    """Return the mean of each step, the last of which ends now; NaN in gaps."""
    place = np.floor((times_s - times_s[-1]) / step_s + 1e-9).astype(np.int64)
    place -= place[0]
    count = np.bincount(place)
    with np.errstate(invalid="ignore"):
        mean: list[float] = (np.bincount(place, values) / count).tolist()
    return mean


def _short(values: Floats) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def loads(raw: bytes | None) -> Outlook | None:
    """Return the outlook that was kept; None when there is none, or it can't be read."""
    try:
        return msgspec.json.decode(raw, type=Outlook) if raw else None
    except msgspec.MsgspecError:
        return None
