"""Decides which keys to load before they are asked for, within a budget of extra loads.

A key is considered at two kinds of moments: when its value expires (or, better, when the histogram
of its gaps says: ``outrider.cache.window``), and when a key that it tends to follow has just been
used (``outrider.cache.association``). Either way the outcome is forecast, the forecast corrected by
the record of its like (``calibration``) and by how loads of this very key have paid so far, and the
key is loaded if that is worth the present price of an extra load (``price``) and the budget has
room (``budget``). Forecasts of keys that are not loaded are followed too, which costs nothing, so
warming that would not pay is noticed without paying for it, and so is that it would again.

Memory: a key's state takes about 0.8 KB with all its gaps; 50,000 keys are kept, 40 MB, those used
last. Followers take up to 3 KB for each of at most 20,000 leaders, where association pays.
"""

from __future__ import annotations

import heapq
import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.cache import window
from outrider.cache.association import Association
from outrider.cache.budget import Budget
from outrider.cache.calibration import Calibration, Forecast
from outrider.cache.price import Price
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Hashable

    from outrider.cache.association import Follower
    from outrider.cache.calibration import Cell

MOST_KEYS = 50_000
_RHYTHM, _ASSOCIATION = 1, 2
GAPS = 16
_MOST_STALE = 3  # entries of the queue for each key, before those that are out of date go
_LONGEST_LEAD_S = 0.25
_LEAD_SHARE = 0.002
_SOONEST_S = 1e-6
_FIRST_GUESS = 0.1  # for a key of which nothing is known
_BURST_RATE = 0.1
_RECORD_KEPT = 0.97
_RECORD_WEIGHT = 20.0  # loads of a key after which its own record counts as much as its class
# After so many loads ahead, of which fewer than this share served, a namespace rests.
_LOADS_JUDGED = 200
_LEAST_SERVED = 0.2
_REST_LOADS = 2000  # loads of demand


@dataclass(slots=True)
class Counts:
    """What became of loads ahead since the planner began."""

    ahead: int = 0
    useful: int = 0
    wasted: int = 0
    refused: int = 0  # worth it, but beyond the budget


class _Key:
    __slots__ = (
        "ahead",
        "awaited",
        "burst",
        "by",
        "due_s",
        "expires_s",
        "exposed",
        "follows",
        "gaps",
        "last_s",
        "saved",
        "shadow_s",
        "uses",
        "warmed",
        "wins",
    )  # fmt: skip

    def __init__(self) -> None:
        self.last_s = self.expires_s = self.shadow_s = -math.inf
        self.gaps = array("f")  # a sixth of what a list of floats takes
        self.burst = 0.5
        self.uses = 0
        self.due_s: float | None = None
        self.exposed = False
        self.awaited: list[Forecast] | None = None
        self.follows: Forecast | None = None  # the last forecast by association
        # Why the present value was loaded: 0 on demand, 1 by the key's rhythm, 2 by association;
        # ``ahead`` is the same until it is known whether the load served.
        self.by = self.ahead = 0
        # Fading, by rhythm only: loads ahead, those that served, and misses saved by them, net.
        self.warmed = self.wins = self.saved = 0.0

    def used(self, at_s: float, ttl_s: float) -> None:
        """Note a use."""
        if self.uses:
            gap_s = at_s - self.last_s
            if gap_s < ttl_s * window.SHORT:
                self.burst += _BURST_RATE * (1.0 - self.burst)
            else:
                self.burst -= _BURST_RATE * self.burst
                self.gaps.append(gap_s)
                if len(self.gaps) > GAPS:
                    del self.gaps[0]
        self.uses += 1
        self.last_s = at_s
        if self.awaited is not None:
            for forecast in self.awaited:
                if not forecast.used and at_s <= forecast.ends_s:
                    forecast.used = True
                    forecast.used_s = at_s
            self.awaited = None

    def worth(self, chance: float, shift: float) -> float:
        """Return what a load would be worth: the misses it saves, per load that it costs."""
        expected = chance / (1.0 + chance * shift)
        if self.warmed <= 0:
            return expected
        weight = _RECORD_WEIGHT
        record = max(0.0, self.saved) + weight * expected
        return min(0.999, record / (self.warmed + weight))


class WarmingPlanner:
    """Plans the warming of keys that all live ``ttl_s``. Pure: time comes in, keys come out.

    ``budget`` is the extra loads allowed, as a share of the loads that plain caching needs. Whoever
    asks :meth:`due` is taken to load what it returns at once. Uses are to be observed in the order
    of time, or the budget is kept only nearly; one that is told of late does not undo a decision.

    >>> planner = WarmingPlanner(ttl_s=30, budget=1.0)
    >>> for at_s in range(0, 1200, 60):
    ...     planner.observe("weather", at_s)
    >>> planner.due(1160), planner.due(1199.95)
    ([], ['weather'])
    """

    def __init__(
        self,
        *,
        ttl_s: float,
        budget: float = 0.05,
        lead_s: float | None = None,
        most_keys: int = MOST_KEYS,
    ) -> None:
        if not 0 < ttl_s < math.inf:
            raise BadArgument(f"ttl_s = {ttl_s}: a value must live; give seconds, such as 60.")
        if not budget >= 0:
            raise BadArgument(
                f"budget = {budget} must not be negative; 0.05 allows 5 % more loads."
            )
        self.ttl_s = ttl_s
        self.lead_s = min(_LONGEST_LEAD_S, ttl_s * _LEAD_SHARE) if lead_s is None else lead_s
        self.most_keys = most_keys
        self.budget = Budget(budget, ttl_s)
        self.counts = Counts()
        self.price = Price()
        self._calibration = Calibration(ttl_s)
        self._association = Association(ttl_s)
        self._now_s = -math.inf
        self._keys: dict[Hashable, _Key] = {}
        # Heaps of (time, sequence, key); what no longer agrees with its key's state is skipped.
        self._dues: list[tuple[float, int, Hashable]] = []
        self._lapses: list[tuple[float, int, Hashable]] = []
        self._sequence = 0
        self._followers: list[tuple[float, Hashable]] = []  # worth, key: due at once
        self._judged = [0, 0]  # useful, wasted
        self._rests_until = 0

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._keys)

    @property
    def off(self) -> str | None:
        """Why nothing is loaded ahead at present, or None."""
        if self.budget.share == 0:
            return "the budget is 0"
        if self.budget.shadow_loads < self._rests_until:
            return "loads ahead did not serve"
        return None

    def observe(self, key: Hashable, at_s: float) -> None:
        """Note a use of ``key``, which loads it if its value has expired."""
        self._advance(at_s)
        state = self._keys.get(key)
        if state is None:
            state = self._add(key)
        state.used(at_s, self.ttl_s)
        if state.ahead:
            self._settle(state, useful=at_s < state.expires_s)
        if at_s >= state.expires_s:
            self.budget.miss()
            state.saved -= 1
            state.by = 0
            state.expires_s = at_s + self.ttl_s
            self._schedule(key, state, state.expires_s - self.lead_s)
        wakes = at_s >= state.shadow_s
        if wakes:
            self.budget.shadow_miss(self._now_s)
            self.price.demand(self.budget)
            state.saved += state.by != _ASSOCIATION
            state.shadow_s = at_s + self.ttl_s
        self._expose(key, state)
        if wakes:
            for follower in self._association.wake(key, at_s):
                self._follow(follower)

    def loaded(self, key: Hashable, at_s: float) -> None:
        """Note that a key was loaded ahead, as another planner decided."""
        self.pass_by(at_s)
        state = self._keys.get(key)
        if state is not None:
            state.due_s = None
            self._load(key, state, _RHYTHM)

    def pass_by(self, until_s: float) -> None:
        """Let pass what falls due up to then, without loading it: another planner decided."""
        self._followers.clear()
        while (due_s := self.next_due_s()) is not None and due_s <= until_s:
            self._candidates(self._advance(due_s))
        self._advance(until_s)

    def due(self, now_s: float) -> list[Hashable]:
        """Return the keys to load now, those most likely to serve first, within the budget."""
        now_s = self._advance(now_s)
        found = [(worth, key, _ASSOCIATION) for worth, key in self._followers]
        self._followers.clear()
        found += self._candidates(now_s)
        if len(found) > 1:
            found.sort(key=lambda one: -one[0])
        return [key for worth, key, why in found if self._warm(key, worth, why)]

    def next_due_s(self) -> float | None:
        """Return the time at which to call :meth:`due` next, or None: not before another use."""
        if self._followers:
            return self._now_s
        dues = self._dues
        while dues:
            state = self._keys.get(dues[0][2])
            if state is not None and state.due_s == dues[0][0]:
                return dues[0][0]
            heapq.heappop(dues)
        return None

    def _candidates(self, now_s: float) -> list[tuple[float, Hashable, int]]:
        """Return the keys whose moment has come: worth, key, 1."""
        found = []
        while self._dues and self._dues[0][0] <= now_s:
            due_s, _, key = heapq.heappop(self._dues)
            state = self._keys.get(key)
            if state is not None and state.due_s == due_s:
                state.due_s = None
                worth = self._consider(key, state)
                if worth is not None:
                    found.append((worth, key, _RHYTHM))
        return found

    def _consider(self, key: Hashable, state: _Key) -> float | None:
        """Return what loading a key now would be worth, or None when it is not the time."""
        now_s, ttl_s = self._now_s, self.ttl_s
        ready_s = state.expires_s - self.lead_s
        if ready_s > now_s:
            self._schedule(key, state, ready_s)
            return None
        if state.ahead and state.expires_s <= now_s + self.lead_s:
            self._settle(state, useful=False)
        idle_s = max(0.0, now_s - state.last_s)
        best = window.choose(
            state.gaps,
            idle_s=idle_s,
            ttl_s=ttl_s,
            burst=state.burst,
            lead_s=self.lead_s,
            price=self.price.at,
        )
        if state.last_s + best.idle_s > now_s + _SOONEST_S:
            self._schedule(key, state, state.last_s + best.idle_s)
            return None
        like = _like(state, best, idle_s / ttl_s)
        cell = self._calibration.cell(like, like[:3])
        worth = state.worth(cell.chance(best.chance if best.samples else _FIRST_GUESS), best.shift)
        self._forecast(state, cell, worth, best.shift)
        return worth

    def _follow(self, follower: Follower) -> None:
        """Consider a key because another that it follows was used."""
        state = self._keys.get(follower.key)
        if state is None or state.expires_s > self._now_s:
            return
        share = follower.times / follower.wakes
        seen = follower.wakes if follower.wakes < 6 else 6 if follower.wakes < 12 else 7  # noqa: PLR2004
        cell = self._calibration.cell(
            (seen, int(share * 10), follower.lately), (seen, int(share * 10))
        )
        chance = cell.chance(min(0.9, follower.times / (follower.wakes + 1)))
        # A follower that comes only by and by would better be loaded then, by its own rhythm.
        worth = chance / (1.0 + chance * cell.shift)
        before = state.follows
        if before is None or before.ends_s <= self._now_s or before.used or worth > before.worth:
            state.follows = self._forecast(state, cell, worth, cell.shift)
        if worth >= self.price.at:
            self._followers.append((worth, follower.key))

    def _forecast(self, state: _Key, cell: Cell, worth: float, cost: float) -> Forecast:
        forecast = Forecast(cell, worth, self._now_s + self.ttl_s, cost)
        self._calibration.follow(forecast)
        if state.awaited is None:
            state.awaited = [forecast]
        else:
            state.awaited.append(forecast)
        return forecast

    def _warm(self, key: Hashable, worth: float, why: int) -> bool:
        state, budget = self._keys[key], self.budget
        if state.expires_s > self._now_s + self.lead_s or worth < self.price.at or self.off:
            return False
        # Its own reservation is free again: the new value will outlive the shadow's.
        credit = budget.credit + state.exposed
        if credit < 1 or worth < self.price.asked(credit):
            self.counts.refused += 1
            return False
        self._load(key, state, why)
        return True

    def _load(self, key: Hashable, state: _Key, why: int) -> None:
        self.budget.loads += 1
        self.counts.ahead += 1
        state.by = state.ahead = why
        if why == _RHYTHM:
            state.warmed = state.warmed * _RECORD_KEPT + 1
            state.saved *= _RECORD_KEPT
            state.wins *= _RECORD_KEPT
        state.expires_s = self._now_s + self.ttl_s
        self._expose(key, state)
        self._schedule(key, state, state.expires_s - self.lead_s)

    def _settle(self, state: _Key, *, useful: bool) -> None:
        """Count what became of a load ahead."""
        if useful:
            self.counts.useful += 1
            if state.ahead == _RHYTHM:
                state.wins += 1
            else:
                self._association.served()
        else:
            self.counts.wasted += 1
        state.ahead = 0
        judged = self._judged
        judged[not useful] += 1
        if sum(judged) >= _LOADS_JUDGED:
            if judged[0] < _LEAST_SERVED * _LOADS_JUDGED:
                self._rests_until = self.budget.shadow_loads + _REST_LOADS
            judged[:] = 0, 0

    def _expose(self, key: Hashable, state: _Key) -> None:
        exposed = state.expires_s < state.shadow_s
        if exposed != state.exposed:
            self.budget.exposed += 1 if exposed else -1
            state.exposed = exposed
            if exposed:
                self._push(self._lapses, state.shadow_s, key)

    def _advance(self, at_s: float) -> float:
        """Move time on: settle forecasts, and free the keys whose exposed moment is over."""
        now_s = self._now_s = max(self._now_s, at_s)
        self._calibration.settle(now_s, self.price)
        while self._lapses and self._lapses[0][0] <= now_s:
            _, _, key = heapq.heappop(self._lapses)
            state = self._keys[key]
            if not state.exposed:
                continue
            if state.shadow_s <= now_s:
                state.exposed = False
                self.budget.exposed -= 1
            else:
                self._push(self._lapses, state.shadow_s, key)
        return now_s

    def _schedule(self, key: Hashable, state: _Key, due_s: float) -> None:
        state.due_s = due_s
        self._push(self._dues, due_s, key)
        if len(self._dues) > _MOST_STALE * len(self._keys) + 100:  # nobody asks what is due
            self._dues = [
                entry
                for entry in self._dues
                if (known := self._keys.get(entry[2])) is not None and known.due_s == entry[0]
            ]
            heapq.heapify(self._dues)

    def _push(self, heap: list[tuple[float, int, Hashable]], at_s: float, key: Hashable) -> None:
        self._sequence += 1
        heapq.heappush(heap, (at_s, self._sequence, key))

    def _add(self, key: Hashable) -> _Key:
        """Begin to know a key; forget one that was not used for long, when there are too many."""
        keys = self._keys
        while len(keys) >= self.most_keys:
            oldest = next(iter(keys))
            state = keys.pop(oldest)
            # An exposed key is a reservation; one in use goes to the end of the queue, once a life.
            if state.exposed or (state.uses > 1 and state.expires_s > self._now_s):
                state.uses = 1
                keys[oldest] = state
                if state.exposed and all(other.exposed for other in keys.values()):
                    break
        state = keys[key] = _Key()
        return state


def _like(state: _Key, best: window.Window, lives_idle: float) -> tuple[object, ...]:
    """Return the cell of a forecast by rhythm."""
    if not best.samples:
        return (
            "new", min(state.uses, 4), min(state.uses.bit_length() - 1, 8),
            int(3 * min(1.99, lives_idle)), int(state.burst * 4),
        )  # fmt: skip
    samples = 1 if best.samples < 3 else 2 if best.samples < 8 else 3  # noqa: PLR2004
    record = 1 + int(3.99 * min(1.0, state.wins / state.warmed)) if state.warmed else 0
    return ("gap", int(best.chance * 15.999), samples, record)
