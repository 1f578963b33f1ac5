"""One series over a range, reduced to what a screen can show without losing a spike.

``query`` answers from the raw rows. Whatever else answers in the same words, such as roll-ups that
reach further back, can stand in its place: :class:`outrider.web.source.Source` takes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from outrider.samples import is_counter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from outrider.store.base import SeriesStore

    Floats = NDArray[np.float64]

# A counter's rate over a longer silence than so many steps would be drawn where nothing is known.
_SILENT_STEPS = 3


class Band(Protocol):
    """A series in steps, all arrays of one length; NaN where nothing was measured.

    ``times_s`` are the starts of the steps. Of counters the values are rates per second.
    """

    @property
    def times_s(self) -> Floats: ...  # noqa: D102
    @property
    def low(self) -> Floats: ...  # noqa: D102
    @property
    def high(self) -> Floats: ...  # noqa: D102
    @property
    def mean(self) -> Floats: ...  # noqa: D102
    @property
    def last(self) -> Floats: ...  # noqa: D102
    @property
    def step_s(self) -> float: ...  # noqa: D102
    @property
    def tier(self) -> str: ...  # noqa: D102


class Query(Protocol):
    """Answers with a series over a range."""

    def __call__(
        self, host: str, series: str, start_s: float, end_s: float, points: int, /
    ) -> Band:
        """Return at most some ``points`` steps. Blocks; raises redis.RedisError."""
        ...


@dataclass(frozen=True, slots=True)
class RawBand:
    """A band made of raw rows."""

    times_s: Floats
    low: Floats
    high: Floats
    mean: Floats
    last: Floats
    step_s: float
    tier: str = "raw"


def query(  # noqa: PLR0917 - as the query of the store's tiers
    store: SeriesStore, host: str, series: str, start_s: float, end_s: float, points: int
) -> RawBand:
    """Return ``[start_s, end_s)`` of a series in at most ``points + 1`` steps of whole ticks."""
    interval_s = store.interval_s
    step_s = interval_s * max(1, math.ceil((end_s - start_s) / points / interval_s - 1e-9))
    first_s = math.floor(start_s / step_s) * step_s
    count = max(1, math.ceil((end_s - first_s) / step_s - 1e-9))
    # A counter's first rate needs the reading before it.
    before_s = _SILENT_STEPS * interval_s if is_counter(series) else 0.0
    times_s, values = store.read(host, series, start_s - before_s, end_s)
    if is_counter(series):
        times_s, values = rates(times_s, values, longest_s=before_s)
        values = values[times_s >= start_s]
        times_s = times_s[times_s >= start_s]
    return reduce(times_s, values, first_s=first_s, step_s=step_s, count=count)


def rates(times_s: Floats, values: Floats, *, longest_s: float) -> tuple[Floats, Floats]:
    """Return how fast a counter grew up to each reading; one that fell began from nought.

    >>> at, rate = rates(np.array([0.0, 10.0, 20.0]), np.array([5.0, 25.0, 10.0]), longest_s=30.0)
    >>> at.tolist(), rate.tolist()
    ([10.0, 20.0], [2.0, 1.0])
    """
    finite = np.isfinite(values)
    times_s, values = times_s[finite], values[finite]
    steps, passed_s = np.diff(values), np.diff(times_s)
    known = (passed_s > 0) & (passed_s <= longest_s)
    grown = np.where(steps < 0, values[1:], steps)
    return times_s[1:][known], grown[known] / passed_s[known]


def reduce(
    times_s: Floats, values: Floats, *, first_s: float, step_s: float, count: int
) -> RawBand:
    """Return least, greatest, mean and last value of each of ``count`` steps.

    >>> reduce(np.array([0.0, 1.0, 5.0]), np.array([1.0, 9.0, 4.0]), first_s=0.0, step_s=2.0,
    ...        count=3).high.tolist()
    [9.0, nan, 4.0]
    """
    place = np.floor((times_s - first_s) / step_s + 1e-6).astype(int)
    keep = (place >= 0) & (place < count) & np.isfinite(values)
    place, values = place[keep], values[keep]
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, place, values)
    np.maximum.at(high, place, values)
    many = np.bincount(place, minlength=count)
    total = np.bincount(place, weights=values, minlength=count)
    last = np.full(count, np.nan)
    last[place] = values  # the newest comes last, and stays
    empty = many == 0
    low[empty] = high[empty] = np.nan
    mean = np.divide(total, many, out=np.full(count, np.nan), where=~empty)
    times = first_s + step_s * np.arange(count, dtype=np.float64)
    return RawBand(times, low, high, mean, last, step_s)
