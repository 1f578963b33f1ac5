"""Reads a budget's counters from the store, at any time: a window is two reads, and exact.

Raw rows where they are kept, else the last value in a bucket of five minutes or of an hour: the
counter at its end. Between two rows a counter does not change, so a gap costs nothing. What
a row of the fleet adds is what hosts measured in the tick before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.slo import series
from outrider.slo.burn import Counts
from outrider.slo.track import FINE_S, MIDDLE_S, Track
from outrider.store import aggregates, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from outrider.store.base import SeriesStore
    from outrider.store.tiers import Tiers

    Numbers = NDArray[np.float64]

# How far back the newest counter before a time is looked for: mostly it is near, else everywhere.
_NEAR_S = 600.0
_FAR_S = (3 * 86_400.0, 3 * 86_400.0, 400 * 86_400.0)


def at(tiers: Tiers, name: str, time_s: float) -> int:
    """Return what a counter had counted before a time; 0 when nothing is known from then."""
    newest = 0
    for store, back_s in ((tiers.raw, _NEAR_S), *zip(tiers.all(), _FAR_S, strict=True)):
        times, values = _read(store, name, time_s - back_s, time_s, raw=store is tiers.raw)
        before = values[times < time_s]
        if len(before):
            newest = max(newest, int(before[-1]))  # it only grows
            if back_s == _NEAR_S:
                break
    return newest


def counts(tiers: Tiers, unit: str, start_s: float, end_s: float) -> Counts:
    """Return what a budget counted in ``[start_s, end_s)``."""
    good, total = (
        at(tiers, name, end_s) - at(tiers, name, start_s)
        for name in (series.good(unit), series.total(unit))
    )
    return Counts(total - good, total)


def excluded(tiers: Tiers, unit: str, start_s: float, end_s: float) -> int:
    """Return what was not counted in a time for planned maintenance."""
    name = series.excluded(unit)
    return at(tiers, name, end_s) - at(tiers, name, start_s)


def track(tiers: Tiers, unit: str, begun_s: float, kept_s: float, now_s: float) -> Track:
    """Return the counters of a budget from before ``now_s``, as fine as its windows need them."""
    made = Track(begun_s, kept_s)
    for time_s, good, total in _merged(tiers, unit, now_s - kept_s - 7200, now_s):
        made.add(time_s, good, total)
    made.thin()
    return made


def _merged(
    tiers: Tiers, unit: str, start_s: float, end_s: float
) -> Iterator[tuple[float, int, int]]:
    found: dict[float, tuple[int, int]] = {}
    spans = ((tiers.hours, start_s), (tiers.five_minutes, end_s - MIDDLE_S - 600),
             (tiers.raw, end_s - FINE_S - 1800))  # fmt: skip
    for store, finest_s in spans:
        from_s = max(finest_s, start_s)
        times, goods = _read(store, series.good(unit), from_s, end_s, raw=store is tiers.raw)
        also, totals = _read(store, series.total(unit), from_s, end_s, raw=store is tiers.raw)
        both = np.intersect1d(times, also)
        good, total = goods[np.isin(times, both)], totals[np.isin(also, both)]
        pairs = zip(good.astype(int).tolist(), total.astype(int).tolist(), strict=True)
        found |= dict(zip(both.tolist(), pairs, strict=True))
    for time_s in sorted(found):
        if time_s < end_s:
            yield time_s, *found[time_s]


def _read(
    store: SeriesStore, name: str, start_s: float, end_s: float, *, raw: bool
) -> tuple[Numbers, Numbers]:
    """Return times and values of a counter; a bucket stands for its last tick."""
    step_s = 0.0 if raw else store.interval_s
    times, values = store.read(
        keys.FLEET, name if raw else name + aggregates.LAST, start_s - step_s, end_s
    )
    there = np.isfinite(values)
    # The last tick of a bucket is one before its end; whatever is less than a second does.
    return times[there] + (step_s - 1.0 if step_s else 0.0), values[there]
