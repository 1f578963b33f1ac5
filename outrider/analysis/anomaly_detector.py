"""Scores one series as it comes, by evidence that adds up over forty ways of being unusual.

Five residuals (from the half hour of the day, the hour of the week, and running levels of 500, 50
and 10 samples) of two views (the value; sign(x) log(1 + |x| / scale)), each at four smoothings:
forty features q. Of each, the log peaks y of past episodes are kept, the highest three. With e the
mean excess of these over the lowest, y3, drawn to 0.3 by one pseudo-peak, a feature's evidence is

    z = (log q - y3) / e - log 3        the negative log of a Pareto tail (Hill 1975), in 0..3

and fades in by forgetting the peaks at 1e-4 a sample. The score is S / (S + level), S the sum of z:
agreement of many features, since one alone cannot reach the level. An event is alarmed once: until
S was below the level for the cool-down, further crossings score 0. Nothing later is ever looked at.

Sources: Hill 1975, "A simple general approach to inference about the tail of a distribution"; the
scoring it was judged by: Lavin and Ahmad 2015. Error rates stand in ``docs/benchmarks.md``.
"""

from __future__ import annotations

import math
from array import array

from outrider.analysis import anomaly_state
from outrider.analysis import anomaly_tuning as tuning
from outrider.analysis.anomaly_clock import Clock

ALARM_THRESHOLD = 0.5
# Beyond this a single-precision table would overflow; larger values count as this large.
MOST = 1e37
# A residual under a hundredth of the scale is as good as none: a constant may jitter.
FLOOR = 0.01
# Ended episodes are looked for every so many samples; the search costs as much as a sample.
CLOSE_EVERY = 8
LONG_AGO = -(10**9)
# Logarithms of math and of numpy differ in the last digit; on this grid bank and detector agree.
GRID = 2.0**24


class AnomalyDetector:
    """Score a series sample by sample; the score is ``ALARM_THRESHOLD`` or more at an alarm.

    >>> detector = AnomalyDetector()
    >>> calm = [detector.update(300.0 * n, 10.0 + n % 3) for n in range(600)]
    >>> max(calm) < ALARM_THRESHOLD <= detector.update(180_000.0, 500.0)
    True
    """

    def __init__(self, *, set_to: tuning.Tuning = tuning.DEFAULT) -> None:
        self.set_to = set_to
        self.clock = Clock(set_to)
        self.samples = 0
        self.scale = 0.0
        self.tables = [array("f", [math.nan]) * size for size in (48, 168, 48, 168)]
        self.levels = [0.0] * 6
        self.smoothed = [0.0] * tuning.FEATURES
        self.peaks: list[list[float]] = [[] for _ in range(tuning.FEATURES)]
        self.tallest = [0.0] * tuning.FEATURES
        self.tallest_at = [0] * tuning.FEATURES
        self.per_scale = [0.0] * tuning.FEATURES
        self.bounds = [math.inf] * tuning.FEATURES
        self.limits = [0.0] * tuning.FEATURES
        self.alarmed_at = LONG_AGO
        self.evidence = 0.0

    def update(self, timestamp_s: float, value: float) -> float:
        """Return the score of the next sample, 0..1; what is no finite number scores 0."""
        clock = self.clock
        self.evidence = 0.0
        if not clock.advance(timestamp_s):
            return 0.0
        now, set_to = clock.ticks, self.set_to
        if now % CLOSE_EVERY == 0 and self.samples:
            self._close(now, clock.samples(set_to.gap))
        if not math.isfinite(value):
            return 0.0
        value = min(max(value, -MOST), MOST)
        found = self._beyond(self._residuals(value), self.smoothed, self.limits)
        warm = self.samples > clock.samples(set_to.warm_up)
        if found:
            self._weigh(found, now, warm=warm)
        evidence = self.evidence
        if evidence < set_to.level:
            return evidence / (evidence + set_to.level)
        fresh = now - self.alarmed_at > clock.samples(set_to.cool_down)
        self.alarmed_at = now
        return evidence / (evidence + set_to.level) if fresh else 0.0

    def dumps(self) -> bytes:
        """Return the whole state, at most 4 KB; ``loads`` of it goes on as if nothing happened."""
        return anomaly_state.dumps(self)

    @classmethod
    def loads(cls, state: bytes) -> AnomalyDetector:
        """Return the detector of a ``dumps``. Raises StoreError when it is damaged or foreign."""
        return anomaly_state.loads(state, cls())

    def _residuals(self, value: float) -> list[float]:
        clock, levels = self.clock, self.levels
        count = self.samples = self.samples + 1
        if count <= tuning.SCALE_SAMPLES:
            self.scale += (abs(value) - self.scale) / count
        log = math.floor(math.log1p(abs(value) / (self.scale or 1.0)) * GRID + 0.5) / GRID
        log = math.copysign(log, value)
        if count == 1:
            levels[:] = [value] * 3 + [log] * 3
        first = 1.0 / count
        residuals = []
        for view, seen in ((0, value), (1, log)):
            base = levels[3 * view]
            for table, bucket, rate in (
                (self.tables[2 * view], clock.day, tuning.DAY_RATE),
                (self.tables[2 * view + 1], clock.week, tuning.WEEK_RATE),
            ):
                usual = table[bucket]
                if math.isnan(usual):  # a bucket that was never met borrows the level
                    usual = base
                stray = seen - usual
                residuals.append(stray)
                table[bucket] = usual + rate * stray
            for place, rate in enumerate(tuning.LEVELS, 3 * view):
                stray = seen - levels[place]
                residuals.append(stray)
                levels[place] += max(rate, first) * stray
        return residuals

    @staticmethod
    def _beyond(
        residuals: list[float], smoothed: list[float], limits: list[float]
    ) -> list[tuple[int, float]]:
        """Return the features beyond their limits; smooths in place. The hot loop, unrolled."""
        found = []
        at = 0
        for stray in residuals:
            if not -limits[at] <= stray <= limits[at]:
                found.append((at, stray))
            at += 1
            q = smoothed[at]
            q += 0.3 * (stray - q)
            smoothed[at] = q
            if not -limits[at] <= q <= limits[at]:
                found.append((at, q))
            at += 1
            q = smoothed[at]
            q += 0.1 * (stray - q)
            smoothed[at] = q
            if not -limits[at] <= q <= limits[at]:
                found.append((at, q))
            at += 1
            q = smoothed[at]
            q += 0.03 * (stray - q)
            smoothed[at] = q
            if not -limits[at] <= q <= limits[at]:
                found.append((at, q))
            at += 1
        return found

    def _weigh(self, found: list[tuple[int, float]], now: int, *, warm: bool) -> None:
        """Add up the evidence of features beyond their limits, and let episodes grow."""
        set_to, faded, total = self.set_to, self.clock.faded, 0.0
        for at, signed in found:
            size = abs(signed)
            if warm and size > self.bounds[at]:
                z = (math.log(size) + faded - self.peaks[at][-1]) * self.per_scale[at]
                total += min(max(z - set_to.log_peaks, 0.0), set_to.cap)
            if size > self.tallest[at]:
                self.tallest[at] = size
                self.tallest_at[at] = now
                self.limits[at] = min(size, self.bounds[at])
        self.evidence = total

    def _close(self, now: int, gap: int) -> None:
        """Keep the peaks of episodes that ended, and renew the bounds for the samples to come."""
        set_to, faded = self.set_to, self.clock.faded
        soon = faded + set_to.decay * CLOSE_EVERY
        raw_floor = FLOOR * (self.scale or 1.0)
        for at in range(tuning.FEATURES):
            if now - self.tallest_at[at] >= gap:
                floor = raw_floor if at < tuning.FEATURES // 2 else FLOOR
                peaks = self.peaks[at]
                peaks.append(math.log(max(self.tallest[at], floor)) + faded)
                peaks.sort(reverse=True)
                del peaks[set_to.peaks :]
                self.per_scale[at] = 1.0 / set_to.scale_of(peaks)
                self.tallest[at], self.tallest_at[at] = floor, now
            if len(self.peaks[at]) == set_to.peaks:
                lowest = self.peaks[at][-1] + set_to.log_peaks / self.per_scale[at] - soon
                self.bounds[at] = math.exp(min(lowest, 700.0))
            self.limits[at] = min(self.tallest[at], self.bounds[at])
