"""Turns timestamps into what the detector needs: buckets of day and week, lengths in samples.

The step is learned from the timestamps: a running median of positive differences, by steps of 5 %
after a start at the first one. Lengths are given in samples, as patterns of a series scale with its
step, but never shorter than an hour: at one sample a second 120 samples are no cool-down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from outrider.analysis import anomaly_tuning as tuning

_DAY_S, _WEEK_S = 86400.0, 604800.0
_LEAST_STEP_S, _MOST_STEP_S = 1e-3, 1e7


@dataclass(slots=True)
class Clock:
    """Where in day and week a sample falls, and how long things last at the learned step."""

    set_to: tuning.Tuning = field(default=tuning.DEFAULT)
    ticks: int = 0
    last_s: float = math.nan
    step_s: float = 0.0
    faded: float = 0.0
    day: int = 0
    week: int = 0

    def advance(self, timestamp_s: float) -> bool:
        """Take the next timestamp; False when it is no time that can be placed."""
        if not math.isfinite(timestamp_s):
            return False
        since = timestamp_s - self.last_s
        self.last_s = timestamp_s
        if _LEAST_STEP_S <= since <= _MOST_STEP_S:
            if self.step_s == 0.0:
                self.step_s = since
            elif since > self.step_s * 1.001:
                self.step_s = min(since, self.step_s * 1.05)
            elif since < self.step_s * 0.999:
                self.step_s = max(since, self.step_s / 1.05)
        self.ticks += 1
        # Forgetting follows time below the unit: at 1 s peaks must last as long as at 5 minutes.
        self.faded += self.set_to.decay * min(1.0, (self.step_s or 1.0) / self.set_to.unit_s)
        self.day = int(timestamp_s % _DAY_S / _DAY_S * tuning.DAY_BUCKETS) % tuning.DAY_BUCKETS
        self.week = int(timestamp_s % _WEEK_S / _WEEK_S * tuning.WEEK_BUCKETS) % tuning.WEEK_BUCKETS
        return True

    def samples(self, length: int) -> int:
        """Return a length in samples, at least ``least_s`` long where the step is short."""
        return max(length, math.ceil(self.set_to.least_s / self.step_s) if self.step_s else length)
