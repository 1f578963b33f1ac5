"""Scores one series as it comes, by evidence that adds up over forty ways of being unusual.

Five residuals (from the half hour of the day, the hour of the week, and running levels of 500, 50
and 10 samples) of two views (the value; sign(x) log(1 + |x| / scale)), each at four smoothings:
forty features q. Of each, the log peaks y of past episodes are kept, the highest three. With e the
mean excess of these over the lowest, y3, drawn to 0.3 by one pseudo-peak, a feature's evidence is

    z = 3 log(1 + (log q - y3) / 3e) - log 3, at least 0

which is the Pareto tail of Hill (1975), log q beyond y3 in units of e, made honest about e: that is
known from two excesses and the prior, so the tail to expect (its posterior predictive) is a Lomax
with three as its shape. log 3 is for the rank of y3. Peaks fade by 1e-4 / (1 + n / 8640) a sample:
constant fading never lets the false alarms of a healthy series become rarer; without any, one
incident hides the next. 8640 is 30 days at 5 minutes.

Evidence adds up over features, and over time: S <- S / 2 + sum of z, so that what stays unusual for
some samples says more than a spike. The score is S / (S + level), and

    level = 3.5 (1 + (14 days / age) ^ 1.5), at most 70

for a series of a given age: n episodes old, it sees a feature's record broken by chance with
probability 1 / n in the next, so that without the age most false alarms would come in the first
days. It stops at 70, or on the first day nothing at all could be alarmed. A flat line
(``anomaly_flat``) adds the level. An event is alarmed once: until S was below the level for the
cool-down, further crossings score 0. Nothing later is ever looked at.

Measured: 16 false alarms and 47 of 57 windows on the 31 public files it was made with; of healthy
series of twelve kinds 0.8 false alarms in their first two weeks at 5 minutes and 1.0 in the next
two (heaviest tails 1.7), 0.5 in their first two at 10 s. ``docs/benchmarks.md`` says on what it was
tuned.

Sources: Hill 1975, "A simple general approach to inference about the tail of a distribution"; what
it was judged by: Lavin and Ahmad 2015, "Evaluating real-time anomaly detection algorithms".
"""

from __future__ import annotations

import math
from array import array

from outrider.analysis import anomaly_explanation as explanation
from outrider.analysis import anomaly_flat, anomaly_state
from outrider.analysis import anomaly_tuning as tuning
from outrider.analysis.anomaly_clock import CLOSE_EVERY, RENEW_EVERY, Clock

ALARM_THRESHOLD = 0.5
# Beyond this a single-precision table would overflow; larger values count as this large.
MOST = 1e37
# A residual under a hundredth of the scale is as good as none: a constant may jitter.
FLOOR = 0.01
# Logarithms of math and of numpy differ in the last digit; on this grid bank and detector agree.
GRID = 2.0**24
LONG_AGO = -(10**9)
# What is left of evidence below this is none.
LEAST_TOTAL = 0.01
# No episode has begun.
NEVER = 2**62
_MOST_LOG = 80.0
_RESIDUALS = tuning.FEATURES // len(tuning.SMOOTHINGS)


class AnomalyDetector:
    """Score a series sample by sample; the score is ``ALARM_THRESHOLD`` or more at an alarm.

    With ``counter`` the values only grow, and what is judged is the increase a second; a fall is a
    reset and says nothing. Takes 17 KB of memory, 3.8 KB as state, and some 9 microseconds a
    sample.

    >>> detector = AnomalyDetector()
    >>> calm = [detector.update(300.0 * n, 10.0 + n % 3) for n in range(600)]
    >>> max(calm) < ALARM_THRESHOLD <= detector.update(180_000.0, 500.0)
    True
    >>> detector.explain().component
    'novelty'
    """

    def __init__(self, *, counter: bool = False, set_to: tuning.Tuning = tuning.DEFAULT) -> None:
        self.set_to = set_to
        self.counter = counter
        self.counted = (math.nan, math.nan)
        self.clock = Clock(set_to)
        self.samples = 0
        # How much time the clock had seen when the first sample came.
        self.born_s = 0.0
        self.scale = 0.0
        sizes = (tuning.DAY_BUCKETS, tuning.WEEK_BUCKETS) * 2
        self.tables = [array("f", [math.nan]) * size for size in sizes]
        self.levels: tuple[float, ...] = (0.0,) * 6
        self.smoothed = [(0.0, 0.0, 0.0)] * _RESIDUALS
        self.peaks: list[list[float]] = [[] for _ in range(tuning.FEATURES)]
        self.tallest = [0.0] * tuning.FEATURES
        self.tallest_at = [0] * tuning.FEATURES
        self.per_scale = [0.0] * tuning.FEATURES
        self.bounds = [math.inf] * tuning.FEATURES
        self.limits = [[0.0] * 4 for _ in range(_RESIDUALS)]
        self.last, self.run, self.longest, self.moves = math.nan, 0, 0, 0
        self.lowest, self.highest = math.inf, -math.inf
        self.alarmed_at = LONG_AGO
        self.since_s = math.nan
        self.evidence = self.total = 0.0
        self.is_flat = self.is_new = False
        self.residuals = [0.0] * _RESIDUALS
        self._found: list[tuple[int, float]] = []

    def update(self, timestamp_s: float, value: float) -> float:
        """Return the score of the next sample, 0..1; what is no finite number scores 0.

        A sample that is not newer than the last scores 0 and changes nothing.
        """
        clock = self.clock
        if not clock.advance(timestamp_s):
            return 0.0
        now, before, self.evidence = clock.ticks, self.evidence, 0.0
        if now % CLOSE_EVERY == 0 and self.samples:
            self._close(now, clock.samples(self.set_to.gap))
        if self.counter:
            value = self._rate(timestamp_s, value)
        if not math.isfinite(value):
            return 0.0
        value = min(max(value, -MOST), MOST)
        self.residuals = self._residuals(value)
        if self.samples == tuning.SCALE_SAMPLES:
            self.renew()
        self._found = self._beyond()
        if self._found:
            self._weigh(now, warm=self.samples > clock.warm_up())
        self._remember(value)
        if self.evidence and not before:
            self.since_s = timestamp_s
        return self._score(now) if self.evidence or self.total else 0.0

    def explain(self) -> explanation.Explanation | None:
        """Say why the last sample is odd; None when there is no evidence that it is."""
        if not self.evidence:
            return None
        rows = zip(self.residuals, self.smoothed, strict=True)
        sizes = enumerate(abs(size) for stray, others in rows for size in (stray, *others))
        by = {at: z for at, size in sizes if (z := self._z(at, size)) > 0}
        component = explanation.component(by, is_flat=self.is_flat, is_new=self.is_new)
        seasonal = component == "season"
        own = [at for at in by if not seasonal or explanation.is_seasonal(at)]
        low, high = self._expected(max(own, key=lambda at: by[at], default=0))
        return explanation.Explanation(component, low, high, self.last, self.since_s)

    def _expected(self, at: int) -> tuple[float, float]:
        """Return the range that a feature allows, as values."""
        stray, reach = self.residuals[at // len(tuning.SMOOTHINGS)], min(self.bounds[at], MOST)
        if at < tuning.FEATURES // 2:
            return self.last - stray - reach, self.last - stray + reach
        usual = math.copysign(math.log1p(abs(self.last) / (self.scale or 1.0)), self.last) - stray
        low, high = (
            math.copysign(math.expm1(min(abs(log), _MOST_LOG)) * (self.scale or 1.0), log)
            for log in (usual - reach, usual + reach)
        )
        return low, high

    def dumps(self) -> bytes:
        """Return the whole state, at most 4 KB; ``loads`` of it goes on as if nothing happened."""
        return anomaly_state.dumps(self)

    @classmethod
    def loads(cls, state: bytes) -> AnomalyDetector:
        """Return the detector of a ``dumps``. Raises StoreError when it is damaged or foreign."""
        return anomaly_state.loads(state, cls())

    def renew(self) -> None:
        """Make the bounds beyond which features are evidence, up to the clock's horizon."""
        for at in range(tuning.FEATURES):
            self._bound(at)

    def _score(self, now: int) -> float:
        """Add the sample's evidence to what is left of that before, and weigh it by age."""
        set_to, clock = self.set_to, self.clock
        self.total = total = set_to.keep * self.total + self.evidence
        if total < LEAST_TOTAL:
            self.total = 0.0
            return 0.0
        level = set_to.level_at(clock.seen_s - self.born_s)
        if total >= level:
            fresh = now - self.alarmed_at > clock.samples(set_to.cool_down)
            self.alarmed_at = now
            if not fresh:
                return 0.0
        return total / (total + level)

    def _rate(self, timestamp_s: float, value: float) -> float:
        before_s, before = self.counted
        if not math.isfinite(value):
            return math.nan
        self.counted = (timestamp_s, value)
        since = timestamp_s - before_s
        return (value - before) / since if since > 0 and value >= before else math.nan

    def _residuals(self, value: float) -> list[float]:
        clock = self.clock
        count = self.samples = self.samples + 1
        if count <= tuning.SCALE_SAMPLES:
            self.scale += (abs(value) - self.scale) / count
        log = math.floor(math.log1p(abs(value) / (self.scale or 1.0)) * GRID + 0.5) / GRID
        log = math.copysign(log, value)
        if count == 1:
            self.levels = (value,) * 3 + (log,) * 3
            self.tallest_at = [clock.ticks] * tuning.FEATURES
            self.born_s = clock.seen_s
        first = 1.0 / count
        slow, middle, quick = tuning.LEVELS
        if first > slow:
            slow, middle, quick = first, max(middle, first), max(quick, first)
        a, b, c, d, e, f = self.levels
        value_a, value_b, value_c = value - a, value - b, value - c
        log_d, log_e, log_f = log - d, log - e, log - f
        self.levels = (
            *(a + slow * value_a, b + middle * value_b, c + quick * value_c),
            *(d + slow * log_d, e + middle * log_e, f + quick * log_f),
        )
        day, week, log_day, log_week = self.tables
        at_day, at_week = clock.day, clock.week
        of_day = value - day[at_day]
        of_week = value - week[at_week]
        log_of_day = log - log_day[at_day]
        log_of_week = log - log_week[at_week]
        # A bucket that was never met borrows the level.
        if of_day != of_day:  # noqa: PLR0124 - NaN, in the hot path
            of_day, log_of_day = value_a, log_d
        if of_week != of_week:  # noqa: PLR0124
            of_week, log_of_week = value_a, log_d
        day[at_day] = value - of_day + tuning.DAY_RATE * of_day
        week[at_week] = value - of_week + tuning.WEEK_RATE * of_week
        log_day[at_day] = log - log_of_day + tuning.DAY_RATE * log_of_day
        log_week[at_week] = log - log_of_week + tuning.WEEK_RATE * log_of_week
        return [
            *(of_day, of_week, value_a, value_b, value_c),
            *(log_of_day, log_of_week, log_d, log_e, log_f),
        ]

    def _beyond(self) -> list[tuple[int, float]]:
        """Smooth and return the features beyond their limits, which are kept as squares."""
        found, at, smoothed = [], 0, []
        second, third, fourth = tuning.SMOOTHINGS[1:]
        for stray, (a, b, c), (one, two, three, four) in zip(
            self.residuals, self.smoothed, self.limits, strict=True
        ):
            a += second * (stray - a)  # noqa: PLW2901 - the hot loop
            b += third * (stray - b)  # noqa: PLW2901
            c += fourth * (stray - c)  # noqa: PLW2901
            smoothed.append((a, b, c))
            if stray * stray > one:
                found.append((at, stray))
            if a * a > two:
                found.append((at + 1, a))
            if b * b > three:
                found.append((at + 2, b))
            if c * c > four:
                found.append((at + 3, c))
            at += 4
        self.smoothed = smoothed
        return found

    def _z(self, at: int, size: float) -> float:
        if size <= self.bounds[at]:
            return 0.0
        set_to = self.set_to
        excess = (math.log(size) + self.clock.faded - self.peaks[at][-1]) * self.per_scale[at]
        z = set_to.weight * math.log1p(max(excess, 0.0) / set_to.weight) - set_to.log_peaks
        return max(z, 0.0)

    def _weigh(self, now: int, *, warm: bool) -> None:
        """Add up the evidence of features beyond their limits, and let episodes grow."""
        bounds, tallest, total = self.bounds, self.tallest, 0.0
        for at, signed in self._found:
            size = abs(signed)
            if warm and size > bounds[at]:
                total += self._z(at, size)
            if size > tallest[at]:
                tallest[at] = size
                self.tallest_at[at] = now
                self.limits[at // 4][at % 4] = min(size, bounds[at]) ** 2
        self.evidence = total

    def _remember(self, value: float) -> None:
        """Keep what tells a flat line and a new value."""
        if value == self.last:
            self.run += 1
            least = self.clock.samples(anomaly_flat.LEAST_RUN)
            self.is_flat = anomaly_flat.is_due(self.run, self.longest, self.moves, least)
            self.is_new = False
            if self.is_flat and self.samples > self.clock.warm_up():
                self.evidence += self.set_to.level_at(self.clock.seen_s - self.born_s)
            return
        self.longest = max(self.longest, self.run)
        self.last, self.run, self.is_flat = value, 0, False
        self.moves += 1
        self.is_new = not self.lowest <= value <= self.highest
        if self.is_new:
            self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)

    def _close(self, now: int, gap: int) -> None:
        """Keep the peaks of episodes that ended.

        An episode begins where a feature exceeds its lowest kept peak: a lower one would not be
        kept. Only while peaks are too few does the next episode begin at once.
        """
        most = self.set_to.peaks
        for at in [at for at, began in enumerate(self.tallest_at) if now - began >= gap]:
            peaks = self.peaks[at]
            peaks.append(math.log(max(self.tallest[at], self._floor(at))) + self.clock.faded)
            peaks.sort(reverse=True)
            del peaks[most:]
            self.per_scale[at] = 1.0 / self.set_to.scale_of(peaks)
            self.tallest[at] = 0.0
            self.tallest_at[at] = now if len(peaks) < most else NEVER
            self._bound(at)
        if now % RENEW_EVERY == 0:
            self.renew()

    def _floor(self, at: int) -> float:
        return FLOOR * (self.scale or 1.0) if at < tuning.FEATURES // 2 else FLOOR

    def _bound(self, at: int) -> None:
        """Make the sizes from which a feature is kept and from which it is evidence."""
        peaks = self.peaks[at]
        # Until the scale is known there is no floor: a state must give the same bounds when read.
        floor = self._floor(at) if self.samples >= tuning.SCALE_SAMPLES else 0.0
        low, bound = floor, math.inf
        if len(peaks) == self.set_to.peaks:
            start = peaks[-1] - self.clock.horizon
            low = max(math.exp(start), floor)
            bound = max(
                math.exp(min(start + self.set_to.least_excess / self.per_scale[at], 700)), low
            )
        self.bounds[at] = bound
        self.limits[at // 4][at % 4] = min(max(self.tallest[at], low), bound, 1e150) ** 2
