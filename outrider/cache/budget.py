"""Counts loads beside what plain caching would have needed, and says whether one more fits.

Beside the real cache a shadow is kept of what caching on demand would have done, so the extra loads
are counted, not estimated: ``extra = loads - shadow_loads``. A load ahead adds one; the use that it
serves takes it back. Since a value loaded ahead expires before the shadow's would, such a key may
miss once where the shadow still hits; until that moment is over it is *exposed*, and one load stays
reserved for it. Nothing but a load ahead makes ``extra + exposed`` grow, so asking before each of
them holds two limits, for any sequence of uses:

- since the start, ``extra <= share * shadow_loads``, at every moment;
- in every window, ``extra <= share * shadow_loads + burst``, where ``burst`` is what ``share``
  allows for the demand of the last ``WINDOW_LIVES`` times to live, and for ``LEAST_WINDOW`` loads
  at least: what was not spent in quiet hours can't be spent at once.

Plain caching is never worse off: a value loaded ahead only ever moves an expiry back, so by
induction each key's n-th miss comes no earlier than the shadow's n-th, whatever is loaded when.
"""

from __future__ import annotations

import math

WINDOW_LIVES = 10.0
LEAST_WINDOW = 4000


class Budget:
    """The loads of one namespace, real and shadow, and the share of extra ones allowed."""

    __slots__ = (
        "_at_s", "_ceiling", "_recent", "_window_s", "exposed", "loads", "misses", "shadow_loads",
        "share",
    )  # fmt: skip

    def __init__(self, share: float, ttl_s: float) -> None:
        self.share = share
        self._window_s = WINDOW_LIVES * ttl_s
        self._recent = 0.0  # shadow loads of about one window, fading
        self._at_s = -math.inf
        self.loads = 0  # on demand and ahead
        self.misses = 0
        self.shadow_loads = 0
        self.exposed = 0
        self._ceiling = 0.0

    @property
    def extra(self) -> int:
        """Loads beyond those of plain caching; negative when warming saved some."""
        return self.loads - self.shadow_loads

    @property
    def credit(self) -> float:
        """Loads ahead that fit now."""
        balance = self.share * self.shadow_loads - self.loads + self.shadow_loads - self.exposed
        self._ceiling = max(self._ceiling, balance)
        return min(balance, balance - self._ceiling + self.burst)

    @property
    def burst(self) -> float:
        """Loads ahead that may be made at once, after a time in which none were."""
        window = max(self._recent, min(self.shadow_loads, LEAST_WINDOW))
        return max(1.0, self.share * window)

    def miss(self) -> None:
        """Count a load on demand."""
        self.loads += 1
        self.misses += 1

    def shadow_miss(self, at_s: float) -> None:
        """Count a load that plain caching would have made."""
        self.shadow_loads += 1
        if at_s > self._at_s:
            self._recent *= math.exp((self._at_s - at_s) / self._window_s)
            self._at_s = at_s
        self._recent += 1
