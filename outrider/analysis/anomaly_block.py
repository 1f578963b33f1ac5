"""A few hundred series of an anomaly bank in numpy arrays, features first, series last.

The arithmetic is that of ``anomaly_detector``, operation by operation, so that scores are the same
to the last digits. What is rare (a feature beyond its limit, an episode that ends) is worked on by
index, the rest by whole arrays.
"""

from __future__ import annotations

import copy
import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

from outrider.analysis import anomaly_flat
from outrider.analysis import anomaly_tuning as tuning
from outrider.analysis.anomaly_clock import CLOSE_EVERY, RENEW_EVERY, Clock
from outrider.analysis.anomaly_detector import (
    FLOOR,
    GRID,
    LEAST_TOTAL,
    LONG_AGO,
    MOST,
    NEVER,
    AnomalyDetector,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

# What is kept of a block, in the order of its state; the rest follows (``derive``).
COLUMNS = (
    "counters", "counted_s", "counted", "samples", "born_s", "scale", "evidence", "total",
    "since_s", "alarmed_at", "last", "run", "longest", "moves", "lowest", "highest",
    "is_flat", "is_new", "levels", "smoothed", "tallest", "tallest_at", "peaks", "days", "weeks",
)  # fmt: skip
_VIEWS, _KINDS, _SMOOTHINGS = len(tuning.VIEWS), len(tuning.RESIDUALS), len(tuning.SMOOTHINGS)
_RESIDUALS = _VIEWS * _KINDS
_RATES = np.array(tuning.SMOOTHINGS[1:])[None, :, None]
_LEVELS = np.array(tuning.LEVELS)[:, None]
# One number a series, under the same name in block and detector.
_SCALARS = (
    "samples", "born_s", "scale", "last", "run", "longest", "moves", "lowest", "highest",
    "alarmed_at", "since_s", "evidence", "total", "is_flat", "is_new",
)  # fmt: skip


class Block:
    """The state of ``len(counters)`` series."""

    def __init__(self, counters: NDArray[np.bool_], set_to: tuning.Tuning) -> None:
        size = len(counters)
        self.set_to = set_to
        self.counters = counters.copy()
        self.any_counters = bool(counters.any())
        self.counted_s, self.counted = np.full((2, size), np.nan)
        self.samples = np.zeros(size, dtype=np.int64)
        self.born_s, self.scale, self.evidence, self.total = np.zeros((4, size))
        self.days = np.full((_VIEWS, tuning.DAY_BUCKETS, size), np.nan, dtype=np.float32)
        self.weeks = np.full((_VIEWS, tuning.WEEK_BUCKETS, size), np.nan, dtype=np.float32)
        self.levels = np.zeros((_VIEWS, len(tuning.LEVELS), size))
        shape = (_RESIDUALS, _SMOOTHINGS, size)
        self.smoothed = np.zeros(shape)
        self.peaks = np.full((set_to.peaks, *shape), -np.inf)
        self.tallest, self.per_scale, self.limits = (np.zeros(shape) for _ in range(3))
        self.tallest_at = np.zeros(shape, dtype=np.int64)
        self.bounds = np.full(shape, np.inf)
        self.last, self.since_s = np.full((2, size), np.nan)
        self.run, self.longest, self.moves = np.zeros((3, size), dtype=np.int64)
        self.lowest, self.highest = np.full(size, np.inf), np.full(size, -np.inf)
        self.is_flat, self.is_new = np.zeros((2, size), dtype=bool)
        self.alarmed_at = np.full(size, LONG_AGO)

    def update(self, clock: Clock, timestamp_s: float, values: Floats) -> Floats:
        """Return the scores of the next samples, shape ``[size]``."""
        before, self.evidence = self.evidence, np.zeros(len(values))
        if clock.ticks % CLOSE_EVERY == 0:
            self._close(clock)
        if self.any_counters:
            values = self._rates(timestamp_s, values)
        known = np.isfinite(values)
        if known.all():
            return self._step(clock, timestamp_s, values, before)
        scores = np.zeros(len(values))
        if known.any():
            part = self.part(known)
            scores[known] = part._step(clock, timestamp_s, values[known], before[known])  # noqa: SLF001
            for name, own in vars(self).items():
                if isinstance(own, np.ndarray):
                    own[..., known] = getattr(part, name)
        return scores

    def part(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Block:
        """Return some of the series as a block of their own."""
        part = copy.copy(self)
        for name, own in vars(self).items():
            if isinstance(own, np.ndarray):
                # A copy, and contiguous: what is written through ``ravel`` must stay in it.
                setattr(part, name, own[..., which].copy(order="C"))
        part.any_counters = bool(part.counters.any())
        return part

    def selected(self, places: Places, counters: NDArray[np.bool_]) -> Block:
        """Return the series at these places, in this order; -1 is a new one, of its flag."""
        made, old = Block(counters, self.set_to), places >= 0
        for name, own in vars(made).items():
            if isinstance(own, np.ndarray):
                own[..., old] = getattr(self, name)[..., places[old]]
        made.any_counters = bool(made.counters.any())
        return made

    def derive(self, clock: Clock) -> None:
        """Make what follows from the columns that a state holds."""
        self.any_counters = bool(self.counters.any())
        kept = self.peaks.reshape(self.set_to.peaks, -1)
        full = np.flatnonzero(np.isfinite(kept[-1]))
        self._rescale(full, kept[:, full])
        self._bound(clock, np.arange(self.tallest.size))

    def _rates(self, timestamp_s: float, values: Floats) -> Floats:
        known = self.counters & np.isfinite(values)
        since = timestamp_s - self.counted_s
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rates = (values - self.counted) / since
        rates = np.where(known & (since > 0) & (values >= self.counted), rates, np.nan)
        self.counted_s[known], self.counted[known] = timestamp_s, values[known]
        return np.where(self.counters, rates, values)

    def _step(self, clock: Clock, timestamp_s: float, values: Floats, before: Floats) -> Floats:
        set_to, now = self.set_to, clock.ticks
        values = np.clip(values, -MOST, MOST)
        residuals, smoothed = self._residuals(clock, values), self.smoothed
        known = self.samples == tuning.SCALE_SAMPLES
        if known.any():
            self._bound(clock, np.flatnonzero(np.broadcast_to(known, smoothed.shape)))
        smoothed[:, 0] = residuals
        change = residuals[:, None] - smoothed[:, 1:]
        change *= _RATES
        smoothed[:, 1:] += change
        beyond = np.flatnonzero(smoothed * smoothed > self.limits)
        if len(beyond):
            self.evidence = self._weigh(clock, beyond)
        self._remember(clock, values)
        evidence = self.evidence
        self.since_s[(evidence > 0) & (before == 0)] = timestamp_s
        self.total *= set_to.keep
        self.total += evidence
        self.total[self.total < LEAST_TOTAL] = 0.0
        scores = np.zeros(len(values))
        some = np.flatnonzero(self.total)
        if len(some):
            total, level = self.total[some], self._level(clock, some)
            scores[some] = total / (total + level)
            over = some[total >= level]
            stale = over[now - self.alarmed_at[over] <= clock.samples(set_to.cool_down)]
            self.alarmed_at[over] = now
            scores[stale] = 0.0
        return scores

    def _level(self, clock: Clock, at: Places) -> Floats:
        ratio = self.set_to.youth_s / np.maximum(clock.seen_s - self.born_s[at], 1.0)
        level: Floats = np.minimum(1.0 + ratio * np.sqrt(ratio), self.set_to.most_youth)
        return self.set_to.level * level

    def _residuals(self, clock: Clock, values: Floats) -> Floats:
        self.samples += 1
        young = self.samples <= tuning.SCALE_SAMPLES
        if young.any():
            change = (np.abs(values) - self.scale) / self.samples
            self.scale += np.where(young, change, 0.0)
        log = np.log1p(np.abs(values) / self._scale())
        log = np.floor(log * GRID + 0.5) / GRID
        seen = np.stack([values, np.copysign(log, values)])
        fresh = self.samples == 1
        if fresh.any():
            self.levels[:, :, fresh] = seen[:, None, fresh]
            self.tallest_at[..., fresh] = clock.ticks
            self.born_s[fresh] = clock.seen_s
        strays = np.empty((_VIEWS, _KINDS, len(values)))
        off_level = seen[:, None] - self.levels
        strays[:, 2:] = off_level
        for at, table, rate in (
            (0, self.days[:, clock.day], tuning.DAY_RATE),
            (1, self.weeks[:, clock.week], tuning.WEEK_RATE),
        ):
            stray = seen - table
            stray = np.where(np.isnan(stray), off_level[:, 0], stray)
            table[:] = seen - stray + rate * stray
            strays[:, at] = stray
        self.levels += np.maximum(_LEVELS, 1.0 / self.samples) * off_level
        return strays.reshape(_RESIDUALS, -1)

    def _scale(self) -> Floats:
        return np.where(self.scale == 0, 1.0, self.scale)

    def _weigh(self, clock: Clock, at: Places) -> Floats:
        set_to, count = self.set_to, len(self.samples)
        sizes, bounds = np.abs(self.smoothed.ravel()[at]), self.bounds.ravel()[at]
        warm = self.samples > clock.warm_up()
        strong = (sizes > bounds) & warm[at % count]
        where = at[strong]
        excess = np.log(sizes[strong]) + clock.faded - self.peaks[-1].ravel()[where]
        excess = np.maximum(excess * self.per_scale.ravel()[where], 0.0)
        z = set_to.weight * np.log1p(excess / set_to.weight) - set_to.log_peaks
        z = np.maximum(z, 0.0)
        grown = sizes > self.tallest.ravel()[at]
        which, size = at[grown], sizes[grown]
        self.tallest.ravel()[which] = size
        self.tallest_at.ravel()[which] = clock.ticks
        self.limits.ravel()[which] = np.minimum(size, bounds[grown]) ** 2
        total: Floats = np.bincount(where % count, weights=z, minlength=count).astype(np.float64)
        return total

    def _remember(self, clock: Clock, values: Floats) -> None:
        same = values == self.last
        self.longest = np.where(same, self.longest, np.maximum(self.longest, self.run))
        self.run = np.where(same, self.run + 1, 0)
        self.moves += ~same
        self.last = values
        self.is_new = (values < self.lowest) | (values > self.highest)
        np.minimum(self.lowest, values, out=self.lowest)
        np.maximum(self.highest, values, out=self.highest)
        least = clock.samples(anomaly_flat.LEAST_RUN)
        self.is_flat = same & anomaly_flat.are_due(self.run, self.longest, self.moves, least)
        flat = np.flatnonzero(self.is_flat & (self.samples > clock.warm_up()))
        if len(flat):
            self.evidence = self.evidence.copy()
            self.evidence[flat] += self._level(clock, flat)

    def _close(self, clock: Clock) -> None:
        set_to, now = self.set_to, clock.ticks
        ended = (now - self.tallest_at >= clock.samples(set_to.gap)) & (self.samples > 0)
        at = np.flatnonzero(ended)
        if len(at):
            peaks = self.peaks.reshape(set_to.peaks, -1)
            floor = np.broadcast_to(self._floors(), self.tallest.shape).ravel()[at]
            new = np.log(np.maximum(self.tallest.ravel()[at], floor)) + clock.faded
            kept = -np.sort(-np.concatenate([peaks[:, at], new[None]]), axis=0)[: set_to.peaks]
            peaks[:, at] = kept
            full = np.isfinite(kept[-1])
            self._rescale(at[full], kept[:, full])
            self.tallest.ravel()[at] = 0.0
            self.tallest_at.ravel()[at] = np.where(full, NEVER, now)
        if now % RENEW_EVERY == 0:
            some = np.flatnonzero(np.broadcast_to(self.samples > 0, ended.shape))
            self._bound(clock, some)
        elif len(at):
            self._bound(clock, at)

    def _rescale(self, at: Places, kept: Floats) -> None:
        set_to, total = self.set_to, np.zeros(len(at))
        for row in kept:
            total = total + row
        excess = total - set_to.peaks * kept[-1]
        prior = set_to.prior_weight * set_to.prior_scale
        self.per_scale.ravel()[at] = 1.0 / ((excess + prior) / set_to.weight)

    def _floors(self) -> Floats:
        """Return the least size that counts, shape ``[residuals, 1, size]``."""
        floors = np.full((_VIEWS, _KINDS, len(self.scale)), FLOOR)
        floors[0] = FLOOR * self._scale()
        return floors.reshape(_RESIDUALS, 1, -1)

    def _bound(self, clock: Clock, at: Places) -> None:
        """Make the sizes from which features are kept and from which they are evidence."""
        floors = np.where(self.samples >= tuning.SCALE_SAMPLES, self._floors(), 0.0)
        floor = np.broadcast_to(floors, self.tallest.shape).ravel()[at]
        lowest = self.peaks[-1].ravel()[at]
        full = np.isfinite(lowest)
        start = np.where(full, lowest - clock.horizon, 0.0)
        scale = np.where(full, self.per_scale.ravel()[at], 1.0)
        low = np.where(full, np.maximum(np.exp(start), floor), floor)
        bound = np.exp(np.minimum(start + self.set_to.least_excess / scale, 700.0))
        bound = np.where(full, np.maximum(bound, low), np.inf)
        self.bounds.ravel()[at] = bound
        limit = np.minimum(np.maximum(self.tallest.ravel()[at], low), np.minimum(bound, 1e150))
        self.limits.ravel()[at] = limit**2

    def take_out(self, at: int, clock: Clock) -> AnomalyDetector:
        """Return one series as a detector."""
        one = AnomalyDetector(counter=bool(self.counters[at]), set_to=self.set_to)
        one.clock = copy.copy(clock)
        for name in _SCALARS:
            setattr(one, name, getattr(self, name)[at].item())
        one.counted = (self.counted_s[at].item(), self.counted[at].item())
        one.levels = tuple(self.levels[:, :, at].ravel().tolist())
        tables = (self.days[0], self.weeks[0], self.days[1], self.weeks[1])
        one.tables = [array("f", table[:, at].tolist()) for table in tables]
        one.smoothed = [(a, b, c) for _, a, b, c in self.smoothed[:, :, at].tolist()]
        rows = self.peaks[..., at].reshape(self.set_to.peaks, -1).T.tolist()
        one.peaks = [[peak for peak in row if math.isfinite(peak)] for row in rows]
        one.tallest = self.tallest[..., at].ravel().tolist()
        one.tallest_at = self.tallest_at[..., at].ravel().tolist()
        one.residuals = self.smoothed[:, 0, at].tolist()
        one.per_scale = [1.0 / self.set_to.scale_of(each) if each else 0.0 for each in one.peaks]
        one.renew()
        return one

    def put_in(self, at: int, one: AnomalyDetector) -> None:
        """Go on with a detector's history as series ``at``."""
        for name in _SCALARS:
            getattr(self, name)[at] = getattr(one, name)
        self.counters[at] = one.counter
        self.any_counters = bool(self.counters.any())
        self.counted_s[at], self.counted[at] = one.counted
        self.levels[:, :, at] = np.reshape(one.levels, (_VIEWS, -1))
        self.days[0, :, at], self.weeks[0, :, at] = one.tables[0], one.tables[1]
        self.days[1, :, at], self.weeks[1, :, at] = one.tables[2], one.tables[3]
        self.smoothed[:, 0, at] = one.residuals
        self.smoothed[:, 1:, at] = one.smoothed
        lacking = self.set_to.peaks
        rows = [each + [-math.inf] * (lacking - len(each)) for each in one.peaks]
        shape = (_RESIDUALS, _SMOOTHINGS)
        self.peaks[..., at] = np.array(rows).T.reshape(lacking, *shape)
        for name in ("tallest", "tallest_at", "per_scale", "bounds"):
            getattr(self, name)[..., at] = np.reshape(getattr(one, name), shape)
        self.limits[..., at] = one.limits
