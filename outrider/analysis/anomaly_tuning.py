"""The constants of the anomaly detector in one place, so that a benchmark can vary them."""

from __future__ import annotations

import math
from dataclasses import dataclass

# How quickly a residual is smoothed: one sample, then sustained deviations of 3, 10 and 33 samples.
SMOOTHINGS = (1.0, 0.3, 0.1, 0.03)
# Rates of the three running levels, per sample.
LEVELS = (0.002, 0.02, 0.1)
DAY_BUCKETS, WEEK_BUCKETS = 48, 168
DAY_RATE, WEEK_RATE = 0.1, 0.4
RESIDUALS = ("day", "week", "level_500", "level_50", "level_10")
VIEWS = ("raw", "log")
FEATURES = len(VIEWS) * len(RESIDUALS) * len(SMOOTHINGS)
# So many samples give the scale of the log view; the residuals' peaks count from then on.
SCALE_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the detector was set to; lengths in samples hold for steps of ``unit_s`` and more."""

    peaks: int = 3
    gap: int = 60
    decay: float = 1e-4
    fade_after: float = 8640.0
    prior_weight: float = 1.0
    prior_scale: float = 0.3
    keep: float = 0.5
    level: float = 3.5
    youth_s: float = 14 * 86_400.0
    most_youth: float = 20.0
    warm_up: int = 150
    cool_down: int = 120
    unit_s: float = 300.0
    least_s: float = 3600.0
    least_warm_s: float = 21_600.0

    @property
    def log_peaks(self) -> float:
        """Return what the rank of the lowest kept peak takes off the evidence."""
        return math.log(self.peaks)

    @property
    def weight(self) -> float:
        """Return how many peaks, those of the prior included, the tail's scale is known from."""
        return self.peaks - 1 + self.prior_weight

    @property
    def least_excess(self) -> float:
        """Return from how many scales over the lowest peak on a feature is evidence."""
        return self.weight * math.expm1(self.log_peaks / self.weight)

    def scale_of(self, peaks: list[float]) -> float:
        """Return the tail's scale: mean excess over the lowest peak, drawn to the prior."""
        excess = sum(peaks) - len(peaks) * peaks[-1]
        return (excess + self.prior_weight * self.prior_scale) / self.weight

    def level_at(self, age_s: float) -> float:
        """Return the evidence that an alarm takes of a series that has been known for so long.

        >>> [round(Tuning().level_at(86_400.0 * days), 1) for days in (1, 7, 14, 90)]
        [70.0, 13.4, 7.0, 3.7]
        """
        ratio = self.youth_s / max(age_s, 1.0)
        return self.level * min(1.0 + ratio * math.sqrt(ratio), self.most_youth)


DEFAULT = Tuning()
