"""How far apart the uses of a key are, in two numbers.

Mean and mean deviation of the gaps between uses are smoothed as TCP smooths round-trip times: two
numbers a key, one update a use, and a first guess that starts wide and narrows as the rhythm holds
(RFC 6298, after Jacobson and Karels 1988; its alpha 1/8 and beta 1/4). It is what reports judge a
time to live by; warming is planned from the gaps themselves (``outrider.cache.window``).

Uses less than a tenth of a time to live apart are one visit: a bot that reads a key three times in
a second, once a minute, has a rhythm of a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

VISIT_SHARE = 0.1
FEWEST_VISITS = 3
_ALPHA, _BETA = 1 / 8, 1 / 4


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
        """Tell whether there were enough visits to speak of a rhythm."""
        return self.visits >= FEWEST_VISITS and self.gap_s > 0
