"""Decides which keys to load before they are asked for, within a budget of wasted loads.

A key is loaded ahead when its next use is expected after its value has expired, and then as late
as is safe: a value loaded at expiry, long before its use, would expire again too early and cost
more loads than it saves.

**The budget.** Beside the real cache a shadow is kept of what plain caching would have done, so
the extra loads are counted, not estimated: ``extra = loads - shadow_loads``. A load ahead adds one;
the use that it serves takes it back. Since a value loaded ahead expires before the shadow's would,
such a key may miss once where the shadow still hits; until that moment is over it is *exposed*,
and one load stays reserved for it. With ``extra + exposed + 1 <= budget * shadow_loads`` asked
before every load ahead, extra loads never exceed the budget, at any time, for any sequence of
uses: nothing but a load ahead makes ``extra + exposed`` grow.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outrider.cache.rhythm import VISIT_SHARE, Rhythm
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Hashable

# Below an even chance a load ahead is more likely waste than gain.
LEAST_CHANCE = 0.5
_SPREADS_AHEAD = 3.0
# Visits no further apart than this many of their own grain are uses without a pause: the next one
# may come at any moment after the value expires.
_STEADY_VISITS = 2
_LONGEST_LEAD_S = 1.0
_LEAD_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Outlook:
    """When to load a key ahead, and how likely it is that the load will serve."""

    due_s: float
    chance: float


def outlook(
    rhythm: Rhythm,
    *,
    expires_s: float,
    ttl_s: float,
    now_s: float,
    lead_s: float,
    slack_s: float = 0.0,
) -> Outlook | None:
    """Return the outlook of a key, or None when nothing can be said or its rhythm has ended.

    Args:
        rhythm: its visits so far.
        expires_s: when its present value expires, or has expired.
        ttl_s: how long a new value will live.
        now_s: the present time.
        lead_s: how long before the need to be ready, for the load itself takes time.
        slack_s: how old what is known of its uses may be.
    """
    if not rhythm.is_known() or rhythm.is_quiet(now_s, slack_s):
        return None
    next_s, spread_s = rhythm.next_from(max(expires_s, now_s))
    ahead_s = min(ttl_s / 2, lead_s + _SPREADS_AHEAD * spread_s)
    due_s = expires_s - lead_s
    if rhythm.gap_s > _STEADY_VISITS * VISIT_SHARE * ttl_s:
        due_s = max(due_s, next_s - ahead_s)
    start_s = max(due_s, now_s)
    return Outlook(due_s, rhythm.chance(max(start_s, expires_s), start_s + ttl_s))


@dataclass(slots=True)
class _Key:
    rhythm: Rhythm = field(default_factory=Rhythm)
    expires_s: float = -math.inf
    shadow_expires_s: float = -math.inf
    due_s: float | None = None
    is_exposed: bool = False


class WarmingPlanner:
    """Plans the warming of keys that all live ``ttl_s``. Pure: time comes in, keys come out.

    ``budget`` is the extra loads allowed, as a share of the loads that plain caching needs. Whoever
    asks :meth:`due` is taken to load what it returns at once. Times must not go back; an earlier
    one is taken as the latest one seen. Memory grows with the number of keys observed.

    >>> planner = WarmingPlanner(ttl_s=30, budget=1.0)
    >>> for at_s in range(0, 600, 60):
    ...     planner.observe("weather", at_s)
    >>> planner.due(560), planner.due(599)
    ([], ['weather'])
    """

    def __init__(self, *, ttl_s: float, budget: float = 0.05, lead_s: float | None = None) -> None:
        if not ttl_s > 0:
            raise BadArgument(f"ttl_s = {ttl_s}: a value must live; give seconds, such as 60.")
        if not budget >= 0:
            raise BadArgument(
                f"budget = {budget} must not be negative; 0.05 allows 5 % more loads."
            )
        self.ttl_s = ttl_s
        self.budget = budget
        self.lead_s = min(_LONGEST_LEAD_S, ttl_s * _LEAD_SHARE) if lead_s is None else lead_s
        self.loads = 0  # on demand and ahead
        self.shadow_loads = 0
        self.warmed = 0
        self._now_s = -math.inf
        self._exposed = 0
        self._keys: dict[Hashable, _Key] = {}
        # Heaps of (time, sequence, key); what no longer agrees with its key's state is skipped.
        self._dues: list[tuple[float, int, Hashable]] = []
        self._lapses: list[tuple[float, int, Hashable]] = []
        self._sequence = 0

    @property
    def extra_loads(self) -> int:
        """Loads beyond those of plain caching, so far; negative when warming saved some."""
        return self.loads - self.shadow_loads

    def observe(self, key: Hashable, at_s: float) -> None:
        """Note a use of ``key``, which loads it if its value has expired."""
        at_s = self._advance(at_s)
        state = self._keys.get(key)
        if state is None:
            state = self._keys[key] = _Key()
        if at_s >= state.expires_s:
            self.loads += 1
            state.expires_s = at_s + self.ttl_s
        if at_s >= state.shadow_expires_s:
            self.shadow_loads += 1
            state.shadow_expires_s = at_s + self.ttl_s
        self._expose(key, state)
        if state.rhythm.begins_visit(at_s, self.ttl_s):
            state.rhythm = state.rhythm.after(at_s)
        self._schedule(key, state)

    def due(self, now_s: float) -> list[Hashable]:
        """Return the keys to load now, those most likely to serve first, within the budget.

        A key that the budget has no room for is not asked about again until its next use.
        """
        now_s = self._advance(now_s)
        found: list[tuple[float, int, Hashable]] = []
        while self._dues and self._dues[0][0] <= now_s:
            due_s, sequence, key = heapq.heappop(self._dues)
            state = self._keys[key]
            if state.due_s != due_s:
                continue
            state.due_s = None
            seen = self._outlook(state, now_s)
            if seen is not None and seen.due_s > now_s:  # asked late: that use has passed
                state.due_s = seen.due_s
                self._push(self._dues, seen.due_s, key)
            elif seen is not None:
                found.append((-seen.chance, sequence, key))
        return [key for _, _, key in sorted(found) if self._warm(key, now_s)]

    def next_due_s(self) -> float | None:
        """Return the time at which to call :meth:`due` next, or None: not before another use."""
        while self._dues and self._keys[self._dues[0][2]].due_s != self._dues[0][0]:
            heapq.heappop(self._dues)
        return self._dues[0][0] if self._dues else None

    def _outlook(self, state: _Key, now_s: float) -> Outlook | None:
        seen = outlook(
            state.rhythm,
            expires_s=state.expires_s,
            ttl_s=self.ttl_s,
            now_s=now_s,
            lead_s=self.lead_s,
        )
        return seen if seen is not None and seen.chance >= LEAST_CHANCE else None

    def _schedule(self, key: Hashable, state: _Key) -> None:
        seen = self._outlook(state, self._now_s)
        due_s = None if seen is None else max(seen.due_s, self._now_s)
        if due_s != state.due_s:
            state.due_s = due_s
            if due_s is not None:
                self._push(self._dues, due_s, key)

    def _warm(self, key: Hashable, now_s: float) -> bool:
        state = self._keys[key]
        # Its own reservation is free again: the new value will outlive the shadow's.
        reserved = self._exposed - state.is_exposed
        if self.extra_loads + reserved + 1 > self.budget * self.shadow_loads:
            return False
        self.loads += 1
        self.warmed += 1
        state.expires_s = now_s + self.ttl_s
        self._expose(key, state)
        return True

    def _expose(self, key: Hashable, state: _Key) -> None:
        exposed = state.expires_s < state.shadow_expires_s
        self._exposed += exposed - state.is_exposed
        if exposed and not state.is_exposed:
            self._push(self._lapses, state.shadow_expires_s, key)
        state.is_exposed = exposed

    def _advance(self, at_s: float) -> float:
        """Move time on, and free the keys whose exposed moment is over."""
        self._now_s = max(self._now_s, at_s)
        while self._lapses and self._lapses[0][0] <= self._now_s:
            _, _, key = heapq.heappop(self._lapses)
            state = self._keys[key]
            if not state.is_exposed:
                continue
            if state.shadow_expires_s <= self._now_s:
                state.is_exposed = False
                self._exposed -= 1
            else:
                self._push(self._lapses, state.shadow_expires_s, key)
        return self._now_s

    def _push(self, heap: list[tuple[float, int, Hashable]], at_s: float, key: Hashable) -> None:
        self._sequence += 1
        heapq.heappush(heap, (at_s, self._sequence, key))
