"""Keeps what is counted in Redis, and makes the series of a tick; what a tick adds is added once.

State and tick change in one transaction: a tick delivered twice, or by two workers at once, finds
its own outcome. Counters are in the state, so that a row that could not be stored is made up for by
the next one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import msgspec
import redis

from outrider.clock import tick_at, tick_start
from outrider.samples import Row, Window
from outrider.slo import burn, counting, history, maintenance, series
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from outrider.slo.counting import Budget, Counted, State
    from outrider.slo.objective import Objective
    from outrider.slo.track import Track
    from outrider.store.sketches import SketchStore
    from outrider.store.tiers import Tiers

logger = logging.getLogger("outrider.slo")

# What was called for stands this long after it last was: a page that comes and goes with every
# event would be told each time.
HELD_S = 900.0
# A host that was away for longer is not made up for: a tick must not read days.
_MOST_BEHIND_S = 600.0


class Budgets:
    """Counts every host's rows and says how all budgets are. Not for two threads at once.

    Blocks for a few reads a host. Raises redis.RedisError when the server is away.
    """

    def __init__(
        self,
        client: redis.Redis,
        tiers: Tiers,
        sketches: SketchStore,
        objectives: Sequence[Objective],
    ) -> None:
        self._redis = client
        self._tiers = tiers
        self._sketches = sketches
        self._objectives = objectives
        self._tracks: dict[str, Track] = {}

    def advance(self, tick: int) -> dict[str, float]:
        """Count all rows from before a tick, and return its series.

        Safe to run twice: of a tick that was counted, what is kept is returned.
        """
        state = self._counted(tick)
        interval_s = self._tiers.raw.interval_s
        at_s = tick_start(state.tick, interval_s)
        values: dict[str, float] = {}
        called = dict(state.calls)
        for objective in self._objectives:
            budget = state.budgets.get(objective.slug)
            if budget is None:
                continue
            excluded = series.excluded(series.unit(objective.slug))
            values[excluded] = float(budget.all.excluded)
            for unit, counted, judged in _units(objective, budget):
                values[series.good(unit)] = float(counted.good)
                values[series.total(unit)] = float(counted.total)
                if judged:
                    track = self._track(unit, objective, budget, counted, at_s)
                    values |= gauges(unit, objective, track, called, at_s)
        if called != state.calls:
            self._remember(state.tick, called)
        return values

    def _counted(self, tick: int) -> State:
        while True:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.watch(keys.SLO_STATE)  # type: ignore[no-untyped-call]
                state = _decoded(cast("bytes | None", pipe.get(keys.SLO_STATE)))
                if state.tick >= tick:
                    return state
                self._count(state, tick)
                pipe.multi()
                pipe.set(keys.SLO_STATE, msgspec.json.encode(state))
                try:
                    pipe.execute()
                except redis.WatchError:
                    continue  # another worker counts: what it kept is looked at
                return state

    def _count(self, state: State, tick: int) -> None:
        interval_s = self._tiers.raw.interval_s
        end_s = tick_start(tick, interval_s)
        planned = maintenance.planned(self._redis)
        for host in self._tiers.raw.hosts():
            if host == keys.FLEET:
                continue
            seen = state.hosts.get(host)
            since_s = max(seen.at_s + interval_s / 2 if seen else 0.0, end_s - _MOST_BEHIND_S)
            window = self._tiers.raw.window(host, since_s, end_s)
            counting.count(
                state, self._objectives, rows_of(window, host),
                interval_s=interval_s, sketches=self._sketches.merged, maintenance=planned,
            )  # fmt: skip
        state.tick = tick

    def _track(
        self, unit: str, objective: Objective, budget: Budget, counted: Counted, at_s: float
    ) -> Track:
        """Return the counters over time; read anew when another worker was at the ticks between."""
        interval_s = self._tiers.raw.interval_s
        found = self._tracks.get(unit)
        behind = tick_at(at_s - found.newest_s + interval_s / 2, interval_s) if found else 2
        if found is None or behind > 1 or found.begun_s != budget.begun_s:
            found = history.track(self._tiers, unit, budget.begun_s, objective.period_s, at_s)
            self._tracks[unit] = found
        found.add(at_s, counted.good, counted.total)
        return found

    def _remember(self, tick: int, called: Mapping[str, float]) -> None:
        """Keep when budgets called last; lost when another tick is counted at this moment."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.watch(keys.SLO_STATE)  # type: ignore[no-untyped-call]
            state = _decoded(cast("bytes | None", pipe.get(keys.SLO_STATE)))
            if state.tick != tick:
                return
            state.calls = dict(called)
            pipe.multi()
            pipe.set(keys.SLO_STATE, msgspec.json.encode(state))
            try:
                pipe.execute()
            except redis.WatchError:
                return


def load(client: redis.Redis) -> State:
    """Return what is counted; nothing when it can't be read."""
    return _decoded(cast("bytes | None", client.get(keys.SLO_STATE)))


def gauges(
    unit: str, objective: Objective, track: Track, called: dict[str, float], at_s: float
) -> dict[str, float]:
    """Return burns, what is left, and what is called for; notes the latter in ``called``."""
    windows = track.windows(burn.WINDOWS_S)
    period = track.window(objective.period_s)
    decision = burn.decide(windows, budget=objective.budget, looks=looks(objective, period))
    values = {
        series.burn_ratio(unit, span_s): _rounded(windows[span_s].burn(objective.budget))
        for span_s in burn.WINDOWS_S
    }
    values[f"{unit}.left_ratio"] = _rounded(1.0 - period.burn(objective.budget))
    for what, calls in (("page", decision.page), ("ticket", decision.ticket)):
        name = f"{unit}.{what}"
        if calls:
            called[name] = at_s
        elif at_s - called.get(name, -HELD_S) >= HELD_S:
            called.pop(name, None)
        values[name] = float(name in called)
    return values


def looks(objective: Objective, period: burn.Counts) -> float:
    """Return how many failures a period has when the objective is just met, at the usual traffic.

    >>> from outrider.slo.objective import BUILT_IN
    >>> round(looks(BUILT_IN[0], burn.Counts(0, 1000, covered=0.5)))
    10
    """
    return period.total / period.covered * objective.budget if period.covered else 0.0


def rows_of(window: Window, host: str) -> Iterator[Row]:
    """Yield the rows of a window one by one, without what a row does not have."""
    for place, at_s in enumerate(window.times_s.tolist()):
        values = dict(zip(window.names, window.values[place].tolist(), strict=True))
        yield Row(host, at_s, values)


def _units(objective: Objective, budget: Budget) -> Iterator[tuple[str, Counted, bool]]:
    yield series.unit(objective.slug), budget.all, True
    for who, counted in sorted(budget.by.items()):
        yield series.unit(objective.slug, who), counted, objective.each


def _decoded(raw: bytes | None) -> State:
    if not raw:
        return counting.State()
    try:
        return msgspec.json.decode(raw, type=counting.State)
    except msgspec.DecodeError as error:
        logger.warning("what budgets counted can't be read (%s): it begins anew.", error)
        return counting.State()


def _rounded(value: float) -> float:
    return round(value, 4)
