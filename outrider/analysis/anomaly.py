"""Which series are not as usual at the newest tick, and since when.

The score is the distance from the baseline's center in spreads (a robust z-score). At 8 spreads a
value from a normal distribution would come up once in 10^15 samples; heavy tails of real series are
why the bar is that high. ``baseline`` says what the center and the spread are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outrider.analysis import baseline

if TYPE_CHECKING:
    from outrider.samples import Window

ALARM_SCORE = 8.0
LEAST_SAMPLES = 18
# A share that moves within a sixth of the whole holds nobody up, however steady it was before.
_LEAST_RATIO = 0.02
_LEAST_SPREAD = 0.05
# What counts its own time or age is odd by design when it restarts.
_NOT_JUDGED = (".uptime_s", ".heartbeat_age_s", ".cpu_seconds_total")


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One series that is not as usual. For a counter, values are increases a tick."""

    series: str
    value: float
    low: float
    high: float
    score: float
    since_s: float


def find(window: Window, *, most: int = 20) -> list[Anomaly]:
    """Return the odd series of a window's last tick, the oddest first.

    The baseline is learned from the ticks before the last; too few of them, and nothing is odd.
    """
    if len(window.times_s) < LEAST_SAMPLES + 2:
        return []
    values, _ = baseline.steps(window)
    center, spread = baseline.learn(values[:-1])
    samples = np.isfinite(values[:-1]).sum(axis=0)
    # A series that was zero all along: another value is news, but a score needs a divisor.
    divisor = np.where(spread > 0, spread, _LEAST_SPREAD)
    ratios = np.array([name.endswith("_ratio") for name in window.names], dtype=bool)
    divisor = np.where(ratios, np.maximum(divisor, _LEAST_RATIO), divisor)
    with np.errstate(over="ignore", invalid="ignore"):
        scores = np.abs(values - center) / divisor
    judged = np.array([not name.endswith(_NOT_JUDGED) for name in window.names], dtype=bool)
    judged &= np.isfinite(scores[-1]) & (samples >= LEAST_SAMPLES)
    last = np.where(judged, scores[-1], 0.0)
    found = []
    for place in np.argsort(-last)[:most]:
        if last[place] < ALARM_SCORE:
            break
        reach = ALARM_SCORE * divisor[place]
        found.append(
            Anomaly(
                series=window.names[place],
                value=float(values[-1, place]),
                low=float(center[place] - reach),
                high=float(center[place] + reach),
                score=float(min(last[place], 1e6)),
                since_s=_since(window, scores[:, place]),
            )
        )
    return found


def _since(window: Window, scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return when the run of odd values that lasts until now began."""
    usual = np.flatnonzero(~(scores >= ALARM_SCORE))
    first = int(usual[-1]) + 1 if len(usual) else 0
    return float(window.times_s[min(first + 1, len(window.times_s) - 1)])
