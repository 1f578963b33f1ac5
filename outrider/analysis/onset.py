"""Which signals changed for the worse, since when, and by how much.

A change lasts until the newest tick. Where it began is the split of the window into *before* and
*now* that tells the two means apart best: the likelihood-ratio statistic for one shift in the mean,
``|now - before| * sqrt(n_before * n_now / (n_before + n_now))`` over all splits (Hinkley 1970), on
values in robust spreads of the older part, clipped at 10 so that one wild value decides nothing.

What is found must then pass three gates, since a busy host always changes a little: the shift of
the *medians* (of event rates, the means of both halves of *now*) is at least what the table calls
worth speaking of; it is at least 3 robust spreads when 5 ticks long, and 1.5 from 20 on; and it
leads out of what nine in ten values before were (of what is timed, which has a long tail, eight).
A single extreme passes none of them. Of 10,000 series of heavy-tailed noise (Student's t with 3
degrees of freedom, two values in five beyond the least that counts) 38 are called a change.

Hinkley, D. V. (1970), Inference about the change-point in a sequence of random variables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from outrider.analysis.resources import Signal
    from outrider.analysis.signals import Column, Signals

    Array = NDArray[np.float64]

LEAST_TICKS = 16
LEAST_BEFORE = 8
LEAST_NOW = 5
# That a process is gone is a fact at once, and a tick more in case the look was unlucky.
LEAST_NOW_OF_STATE = 3
LEAST_CALLS = 10
# At 5 ticks; a median of more is surer, by the root of their number, but neighbours are alike.
LEAST_SPREADS = 3.0
_LASTING_SPREADS = 1.5
# The best split of noise reaches this now and then; below it no column is looked at closer.
_LEAST_STATISTIC = 3.5
_CLIP = 10.0
_GREATEST = 1e100
_OLDER = 0.5  # the older share of the window says what is usual
_USUAL = 0.9
# What is timed has a long tail: a handler that waits once in ten calls is no slower for it.
_USUAL_OF_MEANS = 0.8
_NORMAL_OF_IQR = 1 / 1.349
_NORMAL_OF_MEAN = 1.2533
_LEAST_RELATIVE = 0.05
_CLIMBS = 0.2
_LEAST_SIZE = 0.5
_DENSE_PER_TICK = 3.0  # a tick with as many events as this is a measurement, with fewer a lottery


@dataclass(frozen=True, slots=True)
class Change:
    """A signal that is worse than before. ``size`` is the shift in units of the least that counts.

    ``spreads`` is the shift in robust standard deviations of what was before; ``ticks`` are those
    at which it was seen.
    """

    column: Column
    before: float
    now: float
    size: float
    spreads: float
    onset_s: float
    ticks: int

    @property
    def strength(self) -> float:
        """Return 0 to 1: half at the least shift that counts, and halfway on for each more."""
        return self.column.signal.weight * (1.0 - math.pow(2.0, -self.size))


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual for a series where more is known of it than a window: middle and spread."""

    center: float
    spread: float


def changes(signals: Signals, history: Mapping[str, Usual] | None = None) -> list[Change]:
    """Return what is worse now, in the order of the columns.

    ``history`` gives, by series, what is usual where more is known than the window: then a change
    may be older than the window. Fewer than ``LEAST_TICKS`` ticks, and nothing is told.
    """
    ticks = len(signals.times_s)
    if ticks < LEAST_TICKS or not signals.columns:
        return []
    signals = replace(signals, values=_bounded(signals.values), counts=_bounded(signals.counts))
    splits, statistic = _splits(signals.values)
    found = []
    for place in range(len(signals.columns)):
        usual = (history or {}).get(signals.columns[place].series)
        if statistic[place] < _LEAST_STATISTIC and usual is None:
            continue
        change = _judge(signals, place, int(splits[place]), usual)
        if change is not None:
            found.append(change)
    return found


def _bounded(values: Array) -> Array:
    """Return values whose squares and products are numbers too; what is not finite stays so."""
    return np.where(np.isfinite(values), np.clip(values, -_GREATEST, _GREATEST), values)


def _splits(values: Array) -> tuple[NDArray[np.intp], Array]:
    """Return for each column the best split and its statistic."""
    ticks = len(values)
    center, spread = _usual(values[: max(LEAST_BEFORE, int(ticks * _OLDER))])
    known = np.isfinite(values) & np.isfinite(center)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.where(known, np.clip((values - center) / spread, -_CLIP, _CLIP), 0.0)
    sums, counts = np.cumsum(scaled, axis=0), np.cumsum(known, axis=0, dtype=np.float64)
    first, last = LEAST_BEFORE, ticks - LEAST_NOW_OF_STATE
    before_n, before_sum = counts[first - 1 : last], sums[first - 1 : last]
    now_n, now_sum = counts[-1] - before_n, sums[-1] - before_sum
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(now_sum / now_n - before_sum / before_n)
        statistic = apart * np.sqrt(before_n * now_n / (before_n + now_n))
    statistic[(before_n < LEAST_BEFORE) | (now_n < LEAST_NOW_OF_STATE)] = 0.0
    best = statistic.argmax(axis=0)
    return best + first, statistic[best, np.arange(values.shape[1])]


def _usual(values: Array) -> tuple[Array, Array]:
    """Return median and robust spread of each column, from one sort; NaN where nothing is known."""
    ordered = np.sort(values.T, axis=1)  # NaN sorts to the end
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(ordered))
    low, middle, high = (
        ordered[rows, np.minimum((count * share).astype(int), len(ordered[0]) - 1)]
        for share in (0.25, 0.5, 0.75)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        strays = np.abs(ordered - middle[:, np.newaxis])
        mean = np.where(np.isfinite(strays), strays, 0.0).sum(axis=1) / np.maximum(count, 1)
        spread = np.maximum((high - low) * _NORMAL_OF_IQR, _LEAST_RELATIVE * np.abs(middle))
        spread = np.where(spread > 0, spread, mean * _NORMAL_OF_MEAN)
    return np.where(count > 0, middle, np.nan), np.where(spread > 0, spread, 1e-9)


@dataclass(frozen=True, slots=True)
class _Shift:
    """A signal before and now. ``edge`` is where the usual ends, ``split`` the first row of now."""

    was: float
    is_: float
    spread: float
    edge: float
    split: int


def _judge(signals: Signals, place: int, split: int, usual: Usual | None) -> Change | None:
    column = signals.columns[place]
    line = column.signal
    series = signals.values[:, place]
    shift = _shift(signals, place, split, usual)
    if shift is None:
        return None
    now = series[shift.split :]
    now = now[np.isfinite(now)]
    if len(now) < (LEAST_NOW_OF_STATE if line.role == "state" else LEAST_NOW):
        return None
    by = (shift.is_ - shift.was) * line.worse
    least = max(line.least, line.least_ratio * abs(shift.was))
    spread = max(shift.spread, _LEAST_RELATIVE * abs(shift.was), line.least / 20)
    lasting = max(_LASTING_SPREADS, LEAST_SPREADS * math.sqrt(LEAST_NOW / len(now)))
    beyond = (shift.is_ - shift.edge) * line.worse > 0
    steps = line.form == "climb" and _stays(now, shift.is_, by)
    size = by / least * _fullness(line, shift.is_)
    if by < least or size < _LEAST_SIZE or by < lasting * spread or not beyond or steps:
        return None
    began = shift.split
    if line.form not in ("rate", "share"):
        began = _began(series, began, shift.was, spread, line.worse)
    return Change(
        column, shift.was, shift.is_, min(size, 1e6), min(by / spread, 1e6),
        float(signals.times_s[began]), len(now),
    )  # fmt: skip


def _shift(signals: Signals, place: int, split: int, usual: Usual | None) -> _Shift | None:
    """Return what a signal was and is by the measure that suits it; None: nobody can say."""
    line, series = signals.columns[place].signal, signals.values[:, place]
    if usual is not None and line.form in ("level", "growth", "climb"):
        split = _since(series, line.worse, usual)
        is_ = _newest(series[split:], line)
        edge = usual.center + 2 * line.worse * usual.spread
        return None if is_ is None else _Shift(usual.center, is_, usual.spread, edge, split)
    if line.form == "share":
        shares = _shares(series, signals.counts[:, place], split)
        return shares and _Shift(*shares, shares[0], split)
    before, now = (part[np.isfinite(part)] for part in (series[:split], series[split:]))
    is_ = _newest(now, line)
    if is_ is None or len(before) < LEAST_BEFORE:
        return None
    if line.form == "rate" and float(np.median(before)) * signals.step_s < _DENSE_PER_TICK:
        was, is_, spread = _events(before, now, line.worse, signals.step_s)
        return _Shift(was, is_, spread, was, split)
    center = float(np.median(before))
    if (is_ - center) * line.worse < line.least:  # most: the rest of the look is not needed
        return None
    share = _USUAL_OF_MEANS if line.form == "mean" else _USUAL
    spread, edge = _level(before, center, share if line.worse > 0 else 1 - share)
    return _Shift(center, is_, spread, edge, split)


def _newest(now: Array, line: Signal) -> float | None:
    """Return the median of now; of what grows, that of its newest values. None: there are none."""
    now = now[np.isfinite(now)]
    if line.form in ("growth", "climb"):
        now = now[-LEAST_NOW:]
    return float(np.median(now)) if len(now) else None


def _stays(now: Array, is_: float, by: float) -> bool:
    """Tell whether a value took a step and stays there, which is no leak."""
    return is_ - float(np.median(now[:LEAST_NOW])) < _CLIMBS * by


def _fullness(line: Signal, is_: float) -> float:
    """Return a factor for the size of a change: what is far from full hurts little."""
    if line.level is None or line.role != "utilisation" or line.worse < 0:
        return 1.0
    return min(1.0, max(0.0, is_ / line.level)) ** 4


def _level(before: Array, center: float, share: float) -> tuple[float, float]:
    """Return the robust spread, and the value that a share of all are below."""
    spread = 1.4826 * float(np.median(np.abs(before - center)))
    return spread, float(np.quantile(before, share))


def _events(before: Array, now: Array, worse: int, step_s: float) -> tuple[float, float, float]:
    """Return rates before and now, and the standard error of their difference.

    Events come in crowds: their variance is that of a Poisson process times what was seen before.
    *Now* is the milder of its halves, so that a single crowd is none that lasts.
    """
    was = float(before.mean())
    half = max(1, len(now) // 2)
    halves = float(now[:half].mean()), float(now[half:].mean())
    is_ = min(halves) if worse > 0 else max(halves)
    crowds = max(1.0, float(before.var()) * step_s / was) if was > 0 else 1.0
    error = math.sqrt(crowds * (max(was, 1.0 / (len(before) * step_s)) / (half * step_s)))
    return was, is_, error


def _shares(series: Array, counts: Array, split: int) -> tuple[float, float, float] | None:
    """Return shares before and now of all calls, and the standard error of their difference.

    A share of two calls is a coin; so calls are added up. *Now* is the milder of its halves.
    """
    counts = np.where(np.isfinite(series), counts, 0.0)
    parts = np.where(np.isfinite(series), series, 0.0) * counts
    half = (split + len(series)) // 2
    calls = [
        float(counts[slice(*ends)].sum()) for ends in ((0, split), (split, half), (half, None))
    ]
    if calls[0] < LEAST_CALLS or min(calls[1:]) < LEAST_CALLS / 2:
        return None
    was, *halves = (
        float(parts[slice(*ends)].sum()) / of
        for ends, of in zip(((0, split), (split, half), (half, None)), calls, strict=True)
    )
    error = math.sqrt(max(was * (1 - was), 0.02) * (1 / calls[0] + 1 / min(calls[1:])))
    return was, min(halves), error


def _began(series: Array, split: int, was: float, spread: float, worse: int) -> int:
    """Return where the run of unusual values that holds the split began."""
    began = split
    while began > 0:
        value = series[began - 1]
        if not (value - was) * worse >= LEAST_SPREADS * spread:
            break
        began -= 1
    return began


def _since(series: Array, worse: int, usual: Usual) -> int:
    """Return where the newest run of values beyond the usual began."""
    beyond = (series - usual.center) * worse >= LEAST_SPREADS * usual.spread
    calm = np.flatnonzero(~beyond & np.isfinite(series))
    return int(calm[-1]) + 1 if len(calm) else 0
