"""Turns timestamps into what the detector needs: buckets of day and week, lengths in samples.

The step is learned from the timestamps, as a running median: it moves by at most 5 % a sample.
Lengths are given in samples, as patterns of a series scale with its step, but are never shorter
than an hour: at one sample a second 120 samples are no cool-down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from outrider.analysis import anomaly_tuning as tuning

_DAY_S, _WEEK_S = 86400.0, 604800.0
_PER_S = tuning.WEEK_BUCKETS / _WEEK_S
_LEAST_STEP_S, _MOST_STEP_S = 1e-3, 1e7
_MOST_STEPS = 10
# What is not newer was delivered twice, or late. If it is a day older, the clock was set back.
_REWOUND_S = _DAY_S
# Whether episodes ended is looked for every so many ticks, and the bounds for evidence are made
# for so many ticks ahead: each costs as much as a sample.
CLOSE_EVERY, RENEW_EVERY = 8, 64


@dataclass(slots=True)
class Clock:
    """Where in day and week a sample falls, and how long things last at the learned step."""

    set_to: tuning.Tuning = field(default=tuning.DEFAULT)
    ticks: int = 0
    last_s: float = math.nan
    step_s: float = 0.0
    # By how much logarithms of old peaks have sunk; and what that can be until the next renewal.
    age: float = 0.0
    faded: float = 0.0
    horizon: float = 0.0
    # How much time was seen; of a gap only as much as a few steps.
    seen_s: float = 0.0
    day: int = 0
    week: int = 0

    def advance(self, timestamp_s: float) -> bool:
        """Take the next timestamp; False when it is no time, or not newer than the last."""
        since = timestamp_s - self.last_s
        if since == self.step_s:
            self.seen_s += since
        else:
            if not math.isfinite(timestamp_s) or -_REWOUND_S < since <= 0:
                return False
            self._learn(since)
        self.last_s = timestamp_s
        self.ticks += 1
        set_to = self.set_to
        # Below the unit forgetting follows time: at 1 s peaks last as long as at 5 minutes. With
        # age it slows down, or the false alarms of a healthy series would never become rarer.
        short = self.step_s / set_to.unit_s
        share = min(1.0, short)
        self.faded += set_to.decay * share / (1.0 + self.age / set_to.fade_after)
        self.age += share
        if self.ticks % RENEW_EVERY == 0 or self.ticks == 1:
            self.horizon = self.faded + set_to.decay * RENEW_EVERY
        self.day = int(timestamp_s % _DAY_S / _DAY_S * tuning.DAY_BUCKETS) % tuning.DAY_BUCKETS
        self.week = int(timestamp_s % _WEEK_S * _PER_S) % tuning.WEEK_BUCKETS
        return True

    def samples(self, length: int) -> int:
        """Return a length in samples, at least ``least_s`` long where the step is short."""
        return self._at_least(length, self.set_to.least_s)

    def warm_up(self) -> int:
        """Return how many samples are learned from before any is evidence."""
        return self._at_least(self.set_to.warm_up, self.set_to.least_warm_s)

    def _at_least(self, length: int, least_s: float) -> int:
        if self.step_s * length >= least_s or not self.step_s:
            return length
        return math.ceil(least_s / self.step_s)

    def _learn(self, since: float) -> None:
        if not _LEAST_STEP_S <= since <= _MOST_STEP_S:
            return
        if self.step_s == 0.0:
            self.step_s = since
        elif since > self.step_s:
            self.step_s = min(since, self.step_s * 1.05)
        else:
            self.step_s = max(since, self.step_s / 1.05)
        self.seen_s += min(since, _MOST_STEPS * self.step_s)
