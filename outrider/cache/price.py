"""The price of an extra load: how likely to serve a load ahead must be, for the budget to last.

Every forecast is followed to its end, whether the key was loaded or not, so what each likelihood
*would* have cost is known. Those costs are kept by likelihood, decaying, beside the demand of the
same time; the price is the likelihood down to which they add up to the budget. That is Lagrange's
multiplier, found by sorting. Costs interact (a key that was loaded is not forecast again until it
expires), so a slow integral term corrects what the sum gets wrong, and in the short run the price
rises as credit runs low: the last of it goes to the surest keys, and never runs out for them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.cache.budget import Budget

LEAST, FIRST, GREATEST = 0.33, 0.5, 0.97
_BUCKETS = 100
_EVERY = 32  # loads of demand between two settings of the price
_MEMORY = 8000.0  # loads of demand over which costs are remembered
_DECAY = 0.97
_GAIN = 0.01
_STEP = 0.1
_RESERVE = 0.2  # of the remembered budget, is kept in hand
_LEAST_CORRECTION, _GREATEST_CORRECTION = 0.05, 20.0


class Price:
    """Follows the market of one namespace. ``at`` is the price as long as credit is plentiful."""

    __slots__ = ("_correction", "_costs", "_demand", "_reserve", "_since", "at")

    def __init__(self) -> None:
        self.at = FIRST
        self._costs = [0.0] * (_BUCKETS + 1)
        self._demand = 0.0
        self._correction = 1.0
        self._reserve = 1.0
        self._since = 0

    def asked(self, credit: float) -> float:
        """Return the least worth of a load at this credit, from 0 to 1."""
        return 1.0 - (1.0 - self.at) * min(1.0, max(0.0, credit / self._reserve))

    def cost(self, worth: float, loads: float) -> None:
        """Note what a forecast of that worth cost, or would have."""
        self._costs[min(_BUCKETS, int(worth * _BUCKETS))] += loads

    def demand(self, budget: Budget) -> None:
        """Count a load that plain caching makes, and set the price anew now and then."""
        self._demand += 1.0
        self._since += 1
        if self._since >= _EVERY:
            self._since = 0
            self._set(budget)

    def _set(self, budget: Budget) -> None:
        allowed = budget.share * self._demand
        self._reserve = max(1.0, min(_RESERVE * (allowed + 1.0), budget.burst / 2))
        error = (budget.credit / self._reserve - 1.0) * _GAIN
        self._correction *= math.exp(max(-_STEP, min(_STEP, error)))
        self._correction = min(_GREATEST_CORRECTION, max(_LEAST_CORRECTION, self._correction))
        left, at = self._correction * allowed, GREATEST
        for bucket in range(_BUCKETS, -1, -1):
            left -= self._costs[bucket]
            if left < 0:
                break
            at = bucket / _BUCKETS
        self.at = max(LEAST, min(GREATEST, at))
        if self._demand > _MEMORY:
            self._demand *= _DECAY
            self._costs = [cost * _DECAY for cost in self._costs]
