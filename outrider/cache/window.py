"""When to load a key ahead: the moment at which its time to live covers the likeliest next use.

The gaps between a key's last uses are taken as they are, a histogram of one sample a bin: timers
with jitter, two timers on one key, bursts with pauses all look like themselves. Of the gaps longer
than the key has been idle, each is tried as the next. Loading just before the i-th of them

- serves if the next gap falls within a time to live of that moment (*gain*),
- is wasted if it is longer (*waste*),
- and comes too late if it is shorter, at no cost;
- a load that serves is early by some *lead*, which costs a part of a load too: the value expires
  that much sooner, and a use that plain caching would have served falls out at its end. That part
  is the uses expected in the last *lead* of a life, over those in a whole one.

For a steady timer whose period divides the time to live that last cost decides everything: each
use comes just as the value expires, so a load a second early loses a whole use where one in time
would often have kept it. Therefore loads are as late as the price of extra loads makes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = 0.1  # of the time to live: uses closer together than this are one burst
_UNSEEN = 0.5  # the weight, in gaps, of a gap unlike all that were seen
_IQR_DEVIATIONS = 1.35  # of a normal distribution
_LEAST_DEVIATION = 1e-3
_EARLY = 0.1  # deviations before the gap that is awaited
_BURSTY = 0.3
_IRREGULAR = 0.4  # deviation over period, from which uses may come at any moment
_SQRT_HALF = math.sqrt(0.5)


@dataclass(frozen=True, slots=True)
class Window:
    """A moment to load: seconds since the key's last use, the chance to serve, the cost if so."""

    idle_s: float
    chance: float
    shift: float
    samples: int


def choose(
    gaps: Sequence[float],
    *,
    idle_s: float,
    ttl_s: float,
    burst: float = 0.0,
    lead_s: float = 0.0,
    price: float = 0.5,
) -> Window:
    """Return the best moment, now or later, for a key that has been idle for ``idle_s``.

    Args:
        gaps: its last gaps, those of at least ``SHORT * ttl_s``.
        idle_s: seconds since its last use.
        ttl_s: how long the value will live.
        burst: the share of its uses that were followed by another within ``SHORT * ttl_s``.
        lead_s: how long before the need to be ready, for the load itself takes time.
        price: the worth at which a load is just worth its cost.

    >>> choose([60.0, 60.0, 60.5], idle_s=30, ttl_s=30).idle_s
    59.95696296296296
    """
    soon = burst * max(0.0, 1.0 - idle_s / (ttl_s * SHORT))
    later = sorted(gap for gap in gaps if gap > idle_s)
    count = len(later)
    if not count:
        return Window(idle_s, soon, 0.0, 0)
    shift = _Shift(sorted(gaps), ttl_s, burst)
    weight = (1.0 - soon) / (count + _UNSEEN)
    extra_worth = price / (1.0 - price)
    early_s = lead_s + _EARLY * shift.deviation_s
    best = Window(idle_s, 0.0, 0.0, count)
    best_gain = -math.inf
    first = last = 0
    for start_s in (idle_s, *(gap - early_s for gap in later)):
        if start_s < idle_s:
            continue
        while first < count and later[first] <= start_s:
            first += 1
        last = max(first, last)
        while last < count and later[last] < start_s + ttl_s:
            last += 1
        served = last - first
        gain = served * weight + (soon if start_s == idle_s else 0.0)
        waste = (count + _UNSEEN - last) * weight
        lead = sum(later[first:last]) / served - start_s if served else 0.0
        cost = shift.cost(lead)
        net = gain - extra_worth * (waste + cost * gain)
        if net >= best_gain:  # of equals the latest: its value is fresher
            best_gain = net
            best = Window(start_s, gain / (gain + waste), cost, count)
    return best


class _Shift:
    """What it costs to load a key early, as a share of a load."""

    __slots__ = ("_at_end", "_deviation_s", "_middle_s", "_period_s", "_uses", "deviation_s")

    def __init__(self, ordered: Sequence[float], ttl_s: float, burst: float) -> None:
        count = len(ordered)
        period_s = ordered[count // 2]
        spread_s = ordered[3 * count // 4] - ordered[count // 4]
        self.deviation_s = spread_s / _IQR_DEVIATIONS + _LEAST_DEVIATION * period_s
        if burst > _BURSTY:  # most uses are in bursts, which the period passes over
            period_s = period_s * (1.0 - burst) + ttl_s * SHORT**2
        uses = max(1, round(ttl_s / period_s))
        self._period_s = period_s
        self._uses = 1.0 + ttl_s / period_s
        self._deviation_s = self.deviation_s * math.sqrt(uses)
        self._middle_s = uses * period_s - ttl_s
        self._at_end = self._before(0.0)

    def cost(self, lead_s: float) -> float:
        """Return the uses lost at the end of a life, over those of a whole one."""
        if self._deviation_s > _IRREGULAR * self._period_s:
            return max(0.0, lead_s / self._period_s) / self._uses
        return max(0.0, self._at_end - self._before(lead_s)) / self._uses

    def _before(self, lead_s: float) -> float:
        """Return the chance that the use nearest to a life's end comes ``lead_s`` before it."""
        return 0.5 * math.erfc((self._middle_s + lead_s) / self._deviation_s * _SQRT_HALF)
