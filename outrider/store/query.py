"""Reads a series over any range from the tier that fits, as a band in which no spike vanishes.

The coarsest tier that gives a point per pixel is read. What is older than that tier keeps comes
from the next coarser one, what is too new to be rolled up from the next finer one; both joints lie
on a bucket's edge, so that no sample counts twice. When more points are left than asked for, they
are put together with their least and greatest kept (an average would hide what an operator looks
for).

A counter is shown as a rate per second, from its increases. The rate over a gap is the increase
over the whole gap, as in raw rows: not a spike in the bucket where the counter came back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from outrider.clock import tick_at, tick_start
from outrider.errors import BadArgument
from outrider.samples import is_counter
from outrider.store import aggregates
from outrider.store.tiers import FIVE_MINUTES_S, NAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from outrider.store.tiers import Tiers

    Numbers = NDArray[np.float64]

MOST_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class Band:
    """One series, point by point; arrays have shape ``[points]``.

    Each point covers the time from ``times_s`` on, for ``step_s`` or less. ``low``, ``high`` and
    ``mean`` are the series' values, or a counter's rate per second; ``last`` is the newest value
    (of a counter: its total). Where nothing was measured there is no point. ``tier`` is where most
    of its time was read from.
    """

    times_s: Numbers
    low: Numbers
    high: Numbers
    mean: Numbers
    last: Numbers
    step_s: float
    tier: str


@dataclass(frozen=True, slots=True)
class _Points:
    """Points before they are put together: the mean is ``total / weight``.

    ``count`` is how many samples a point stands for, ``level`` the place of its tier.
    """

    times_s: Numbers
    low: Numbers
    high: Numbers
    total: Numbers
    weight: Numbers
    last: Numbers
    count: Numbers
    level: Numbers

    def where(self, chosen: NDArray[np.bool_]) -> _Points:
        return _Points(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.times_s)


# A counter's growth into a range began here: the end of the time before it, and its value then.
_Before = tuple[float, float]
# How far back to look for the last sample of a counter that comes back as a range begins.
_GAP_STEPS = 288
_NONE = _Points(*(np.empty(0) for _ in range(8)))


def query(  # noqa: PLR0917 - what, where from, from when to when, how fine: all that it asks
    stores: Tiers, host: str, series: str, start_s: float, end_s: float, points: int
) -> Band:
    """Return one series in ``[start_s, end_s)`` as at most ``points`` points.

    A bucket that the range touches is taken as a whole: a band read from five-minute or hourly rows
    may begin up to a bucket early. A row that came late is missing from buckets until the next
    seal, a few minutes. Nothing known gives an empty band. One to a dozen round trips.

    Raises:
        BadArgument: ``points`` is not between 1 and 100,000.
    """
    if not 1 <= points <= MOST_POINTS:
        raise BadArgument(f"points = {points}; expected 1 to {MOST_POINTS}.")
    level = choose(stores, (end_s - start_s) / points)
    read = _Reader(stores, host, series).read(level, start_s, end_s)
    if len(read):
        place = read.level.astype(int)
        steps_s = np.array([store.interval_s for store in stores.all()])
        level = int(np.bincount(place, weights=steps_s[place]).argmax())
    step_s = stores.all()[level].interval_s
    if len(read) > points:
        step_s = (end_s - start_s) / points
        read = _put_together(read, start_s, step_s, points)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = read.total / read.weight
    return Band(read.times_s, read.low, read.high, mean, read.last, step_s, NAMES[level])


def choose(stores: Tiers, pixel_s: float) -> int:
    """Return the place of the coarsest tier whose step is not longer than a pixel."""
    steps = [store.interval_s for store in stores.all()]
    return max((at for at, step_s in enumerate(steps) if at and step_s <= pixel_s), default=0)


class _Reader:
    """Reads one series from the tiers, each by its place."""

    def __init__(self, stores: Tiers, host: str, series: str) -> None:
        self._stores = stores.all()
        self._host = host
        self._series = series
        self._counter = is_counter(series)

    def read(self, level: int, start_s: float, end_s: float) -> _Points:
        """Return points of one tier, and what it lacks at both ends from the others."""
        if end_s <= start_s:
            return _NONE
        own = self._newest_from_finer(level, start_s, end_s)
        for coarser in range(level + 1, len(NAMES)):
            first_s = float(own.times_s[0]) if len(own) else end_s
            if first_s <= start_s + self._stores[level].interval_s:
                break
            own = self._joined(self._tier(coarser, start_s, first_s), own)
        return own

    def _newest_from_finer(
        self, level: int, start_s: float, end_s: float, before: _Before | None = None
    ) -> _Points:
        """Return points of a tier; of its newest bucket, which may be unfinished, finer ones."""
        if level == 0:
            return self._raw(start_s, end_s, before)
        own = self._tier(level, start_s, end_s, before)
        from_s = float(own.times_s[-1]) if len(own) else start_s
        if len(own) > 1:
            before = float(own.times_s[-2]) + self._stores[level].interval_s, float(own.last[-2])
        return self._joined(own, self._newest_from_finer(level - 1, from_s, end_s, before))

    def _joined(self, coarse: _Points, fine: _Points) -> _Points:
        """Join older buckets with the finer points that begin in the last of them, or later.

        That bucket counts unless the finer points have all of its samples.
        """
        if not len(coarse):
            return fine
        newest_s = float(coarse.times_s[-1])
        within = fine.times_s < newest_s + self._stores[int(coarse.level[-1])].interval_s
        # The first sample of a counter that begins has no step, so it is no point.
        if fine.count[within].sum() >= max(1, coarse.count[-1] - self._counter):
            coarse = coarse.where(coarse.times_s < newest_s)
        else:
            fine = fine.where(~within)
        return _Points(
            *(
                np.concatenate([getattr(coarse, field.name), getattr(fine, field.name)])
                for field in fields(_Points)
            )
        )

    def _raw(self, start_s: float, end_s: float, before: _Before | None) -> _Points:
        store = self._stores[0]
        # A counter's first step needs the sample before the range.
        before_s = max(FIVE_MINUTES_S, 2 * store.interval_s) if self._counter else 0.0
        times, values = store.read(self._host, self._series, start_s - before_s, end_s)
        there = np.isfinite(values) if self._counter else ~np.isnan(values)
        times, values = times[there], values[there]
        if self._counter:
            if before and len(times) and times[0] >= start_s:
                times = np.append(before[0] - store.interval_s, times)
                values = np.append(before[1], values)
            steps = np.diff(values)
            grown = np.where(steps < 0, values[1:], steps)
            read = _rates(times, grown, values[1:], np.ones(len(grown)), level=0)
            return read.where(read.times_s >= start_s)
        ones = np.ones(len(times))
        return _Points(times, values, values, values, ones, values, ones, ones * 0)

    def _tier(
        self, level: int, start_s: float, end_s: float, before: _Before | None = None
    ) -> _Points:
        """Return the buckets of a tier that touch a range."""
        step_s = self._stores[level].interval_s
        from_s = tick_start(tick_at(start_s, step_s), step_s)
        if not self._counter:
            times, numbers = self._columns(level, aggregates.OF_GAUGE, from_s, end_s)
            low, high, total, count, last = numbers
            return _Points(times, low, high, total, count, last, count, np.full(len(times), level))
        times, numbers = self._columns(level, aggregates.OF_COUNTER, from_s - step_s, end_s)
        grown, count, last = numbers
        if len(times) and times[0] >= from_s:
            earlier_s = before[0] - step_s if before else self._bucket_before(level, times[0])
            times = np.append(earlier_s, times)
        else:  # the first one was read to know when the second one's growth began
            grown, count, last = grown[1:], count[1:], last[1:]
        return _rates(times, grown, last, count, level=level)

    def _bucket_before(self, level: int, first_s: float) -> float:
        """Return the time of the counter's bucket before one; of the first ever, a step before."""
        store = self._stores[level]
        name = self._series + aggregates.COUNT
        times, _ = store.read(self._host, name, first_s - _GAP_STEPS * store.interval_s, first_s)
        return float(times[-1]) if len(times) else first_s - store.interval_s

    def _columns(
        self, level: int, whats: tuple[str, ...], start_s: float, end_s: float
    ) -> tuple[Numbers, list[Numbers]]:
        """Return columns side by side, at the times that all of them have."""
        store = self._stores[level]
        read = [store.read(self._host, self._series + what, start_s, end_s) for what in whats]
        times = read[0][0]
        for also, _ in read[1:]:
            if len(also) != len(times) or (also != times).any():  # appended to meanwhile
                times = np.intersect1d(times, also)
        return times, [values[np.isin(own, times)] for own, values in read]


def _rates(times: Numbers, grown: Numbers, last: Numbers, count: Numbers, *, level: int) -> _Points:
    """Return a counter's points; ``times`` has one more, before them."""
    took_s = np.diff(times)
    rate = grown / took_s
    return _Points(times[1:], rate, rate, grown, took_s, last, count, np.full(len(grown), level))


def _put_together(read: _Points, start_s: float, step_s: float, points: int) -> _Points:
    """Return at most ``points`` points; a bucket that began before the range joins the first."""
    place = np.clip((read.times_s - start_s) // step_s, 0, points - 1)
    begins = np.flatnonzero(np.concatenate([[True], np.diff(place) > 0]))
    ends = np.concatenate([begins[1:], [len(place)]]) - 1
    with np.errstate(invalid="ignore"):
        return _Points(
            start_s + place[begins] * step_s,
            np.minimum.reduceat(read.low, begins),
            np.maximum.reduceat(read.high, begins),
            np.add.reduceat(read.total, begins),
            np.add.reduceat(read.weight, begins),
            read.last[ends],
            np.add.reduceat(read.count, begins),
            read.level[ends],
        )
