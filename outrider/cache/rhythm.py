"""When a key will be used next, from when it was used before.

Mean and mean deviation of the gaps between uses are smoothed as TCP smooths round-trip times: two
numbers a key, one update a use, and a first guess that starts wide and narrows as the rhythm holds
(RFC 6298, after Jacobson and Karels 1988; its alpha 1/8 and beta 1/4). The next use is taken to be
spread around ``last + gap`` as a Laplace distribution of that deviation, whose share of any
interval is a closed form.

Uses less than a tenth of a time to live apart are one visit: a bot that reads a key three times in
a second, once a minute, has a rhythm of a minute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

VISIT_SHARE = 0.1
FEWEST_VISITS = 3
_ALPHA, _BETA = 1 / 8, 1 / 4
# Later than this many deviations after its time, a use is not late: the rhythm has ended.
_QUIET_DEVIATIONS = 4
_MOST_USES_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What is remembered of one key's visits. Times are seconds, from any one origin."""

    visits: int = 0
    last_s: float = 0.0
    gap_s: float = 0.0
    jitter_s: float = 0.0

    def after(self, at_s: float) -> Rhythm:
        """Return the rhythm after a visit.

        >>> Rhythm().after(0).after(60).after(120)
        Rhythm(visits=3, last_s=120, gap_s=60.0, jitter_s=22.5)
        """
        gap_s = at_s - self.last_s
        if self.visits == 0:
            return Rhythm(1, at_s)
        if self.visits == 1:
            return Rhythm(2, at_s, gap_s, gap_s / 2)
        jitter_s = self.jitter_s + _BETA * (abs(gap_s - self.gap_s) - self.jitter_s)
        return Rhythm(self.visits + 1, at_s, self.gap_s + _ALPHA * (gap_s - self.gap_s), jitter_s)

    def begins_visit(self, at_s: float, ttl_s: float) -> bool:
        """Tell whether a use at ``at_s`` is a new visit."""
        return self.visits == 0 or at_s - self.last_s >= ttl_s * VISIT_SHARE

    def is_known(self) -> bool:
        """Tell whether there were enough visits to predict from."""
        return self.visits >= FEWEST_VISITS and self.gap_s > 0

    def is_quiet(self, now_s: float, slack_s: float = 0.0) -> bool:
        """Tell whether a use is so overdue that no other is to be expected."""
        patience_s = self.gap_s + _QUIET_DEVIATIONS * self.jitter_s + slack_s
        return now_s - self.last_s > patience_s

    def next_from(self, at_s: float) -> tuple[float, float]:
        """Return ``(time, spread)`` of the first use expected at ``at_s`` or later.

        >>> Rhythm(9, 100.0, 60.0, 2.0).next_from(170.0)
        (220.0, 2.8284271247461903)
        """
        steps = max(1, math.ceil((at_s - self.last_s) / self.gap_s))
        return self.last_s + steps * self.gap_s, self.jitter_s * math.sqrt(steps)

    def chance(self, start_s: float, end_s: float) -> float:
        """Return the probability of a use in ``(start_s, end_s)``; the next few uses count."""
        mean_s, spread_s = self.next_from(start_s)
        missed = 1.0
        for _ in range(_MOST_USES_AHEAD):
            missed *= 1 - (_laplace(end_s, mean_s, spread_s) - _laplace(start_s, mean_s, spread_s))
            mean_s += self.gap_s
            if mean_s > end_s:
                break
        return 1 - missed


def _laplace(at_s: float, mean_s: float, spread_s: float) -> float:
    """Return the share of a Laplace distribution that lies before ``at_s``."""
    if spread_s <= 0:
        return float(at_s > mean_s)
    distance = (at_s - mean_s) / spread_s
    return 0.5 * math.exp(distance) if distance < 0 else 1 - 0.5 * math.exp(-distance)
