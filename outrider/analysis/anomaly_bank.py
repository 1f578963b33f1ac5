"""The anomaly detector for a whole fleet at once: the same scores, in numpy, side by side.

Series are held in blocks that fit the processor's cache, features first, series last. What is rare
(a feature beyond its limit, an episode that ends) is worked on by index, the rest by whole arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.analysis import anomaly_tuning as tuning
from outrider.analysis.anomaly_clock import Clock
from outrider.analysis.anomaly_detector import CLOSE_EVERY, FLOOR, GRID, LONG_AGO, MOST

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_BLOCK = 512
_RESIDUALS = len(tuning.VIEWS) * len(tuning.RESIDUALS)
_RATES = np.array(tuning.SMOOTHINGS[1:])[None, :, None]
_LEVELS = np.array(tuning.LEVELS)[:, None]


class AnomalyBank:
    """Score ``count`` series that share their timestamps; each as ``AnomalyDetector`` would."""

    def __init__(self, count: int, *, set_to: tuning.Tuning = tuning.DEFAULT) -> None:
        self.count = count
        self.clock = Clock(set_to)
        starts = range(0, count, _BLOCK)
        self._blocks = [_Block(min(_BLOCK, count - start), set_to) for start in starts]

    def update(self, timestamp_s: float, values: ArrayLike) -> Floats:
        """Return the scores, shape ``[count]``. Raises ValueError for another shape."""
        seen = np.asarray(values, dtype=np.float64)
        if seen.shape != (self.count,):
            raise ValueError(f"values has shape {seen.shape}; this bank takes ({self.count},)")
        scores = np.zeros(self.count)
        if self.clock.advance(timestamp_s):
            for at, block in enumerate(self._blocks):
                part = slice(at * _BLOCK, at * _BLOCK + _BLOCK)
                scores[part] = block.update(self.clock, seen[part])
        return scores


class _Block:
    def __init__(self, size: int, set_to: tuning.Tuning) -> None:
        self.set_to = set_to
        shape = (_RESIDUALS, len(tuning.SMOOTHINGS), size)
        self.samples = np.zeros(size)
        self.scale = np.zeros(size)
        self.days = np.full((2, tuning.DAY_BUCKETS, size), np.nan, dtype=np.float32)
        self.weeks = np.full((2, tuning.WEEK_BUCKETS, size), np.nan, dtype=np.float32)
        self.levels = np.zeros((2, len(tuning.LEVELS), size))
        self.smoothed = np.zeros(shape)
        self.peaks = np.full((set_to.peaks, *shape), -np.inf)
        self.tallest = np.zeros(shape)
        self.tallest_at = np.zeros(shape, dtype=np.int64)
        self.per_scale = np.zeros(shape)
        self.bounds = np.full(shape, np.inf)
        self.limits = np.zeros(shape)
        self.alarmed_at = np.full(size, LONG_AGO)

    def update(self, clock: Clock, values: Floats) -> Floats:
        if clock.ticks % CLOSE_EVERY == 0:
            self._close(clock)
        known = np.isfinite(values)
        if known.all():
            return self._step(clock, values)
        scores = np.zeros(len(values))
        if known.any():
            part = self._columns(known)
            scores[known] = part._step(clock, values[known])  # noqa: SLF001 - its own kind
            for name, own in vars(self).items():
                if isinstance(own, np.ndarray):
                    own[..., known] = getattr(part, name)
        return scores

    def _columns(self, which: NDArray[np.bool_]) -> _Block:
        part = object.__new__(_Block)
        for name, own in vars(self).items():
            is_array = isinstance(own, np.ndarray)
            # Contiguous, or what is written through ``ravel`` would go into a copy and be lost.
            setattr(part, name, np.ascontiguousarray(own[..., which]) if is_array else own)
        return part

    def _step(self, clock: Clock, values: Floats) -> Floats:
        residuals = self._residuals(clock, np.clip(values, -MOST, MOST))
        smoothed, now, set_to = self.smoothed, clock.ticks, self.set_to
        smoothed[:, 0] = residuals
        smoothed[:, 1:] += _RATES * (residuals[:, None] - smoothed[:, 1:])
        sizes = np.abs(smoothed)
        beyond = np.flatnonzero(sizes > self.limits)
        evidence = np.zeros(len(values))
        if len(beyond):
            evidence = self._weigh(clock, sizes.ravel()[beyond], beyond)
        scores = evidence / (evidence + set_to.level)
        over = np.flatnonzero(evidence >= set_to.level)
        if len(over):
            stale = over[now - self.alarmed_at[over] <= clock.samples(set_to.cool_down)]
            self.alarmed_at[over] = now
            scores[stale] = 0.0
        return scores

    def _residuals(self, clock: Clock, values: Floats) -> Floats:
        self.samples += 1
        first = 1.0 / self.samples
        young = self.samples <= tuning.SCALE_SAMPLES
        if young.any():
            self.scale += np.where(young, (np.abs(values) - self.scale) / self.samples, 0.0)
        log = np.log1p(np.abs(values) / np.where(self.scale == 0, 1.0, self.scale))
        log = np.floor(log * GRID + 0.5) / GRID
        seen = np.stack([values, np.copysign(log, values)])
        self.levels[:, :, self.samples == 1] = seen[:, None, self.samples == 1]
        residuals = np.empty((2, len(tuning.RESIDUALS), len(values)))
        base = self.levels[:, 0]
        for at, (tables, bucket, rate) in enumerate(
            (
                (self.days, clock.day, tuning.DAY_RATE),
                (self.weeks, clock.week, tuning.WEEK_RATE),
            )
        ):
            usual = tables[:, bucket].astype(np.float64)
            usual = np.where(np.isnan(usual), base, usual)
            residuals[:, at] = seen - usual
            tables[:, bucket] = usual + rate * residuals[:, at]
        residuals[:, 2:] = seen[:, None] - self.levels
        self.levels += np.maximum(_LEVELS, first) * residuals[:, 2:]
        return residuals.reshape(_RESIDUALS, -1)

    def _weigh(self, clock: Clock, sizes: Floats, at: NDArray[np.intp]) -> Floats:
        set_to, count = self.set_to, len(self.samples)
        warm = self.samples > clock.samples(set_to.warm_up)
        strong = (sizes > self.bounds.ravel()[at]) & warm[at % count]
        where = at[strong]
        lowest = self.peaks[-1].ravel()[where]
        z = (np.log(sizes[strong]) + clock.faded - lowest) * self.per_scale.ravel()[where]
        z = np.clip(z - set_to.log_peaks, 0.0, set_to.cap)
        grown = sizes > self.tallest.ravel()[at]
        which, size = at[grown], sizes[grown]
        self.tallest.ravel()[which] = size
        self.tallest_at.ravel()[which] = clock.ticks
        self.limits.ravel()[which] = np.minimum(size, self.bounds.ravel()[which])
        return np.bincount(where % count, weights=z, minlength=count)

    def _close(self, clock: Clock) -> None:
        set_to, now, size = self.set_to, clock.ticks, len(self.samples)
        ended = (now - self.tallest_at >= clock.samples(set_to.gap)) & (self.samples > 0)
        at = np.flatnonzero(ended)
        if len(at):
            scale = np.where(self.scale == 0, 1.0, self.scale)[at % size]
            floor = np.where(at < ended.size // 2, FLOOR * scale, FLOOR)
            peaks = self.peaks.reshape(set_to.peaks, -1)
            new = np.log(np.maximum(self.tallest.ravel()[at], floor)) + clock.faded
            kept = -np.sort(-np.concatenate([peaks[:, at], new[None]]), axis=0)[: set_to.peaks]
            peaks[:, at] = kept
            full = np.isfinite(kept[-1])
            total = np.zeros(int(full.sum()))
            for row in kept[:, full]:
                total = total + row
            excess = total - set_to.peaks * kept[-1, full]
            weight = set_to.peaks - 1 + set_to.prior_weight
            prior = set_to.prior_weight * set_to.prior_scale
            self.per_scale.ravel()[at[full]] = 1.0 / ((excess + prior) / weight)
            self.tallest.ravel()[at] = floor
            self.tallest_at.ravel()[at] = now
        soon = clock.faded + set_to.decay * CLOSE_EVERY
        full_ = np.isfinite(self.peaks[-1]) & (self.samples > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            lowest = self.peaks[-1] + set_to.log_peaks / self.per_scale - soon
        np.exp(np.minimum(lowest, 700.0), out=self.bounds, where=full_)
        np.minimum(self.tallest, self.bounds, out=self.limits)
