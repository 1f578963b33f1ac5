"""Replays stored rows: which pages and tickets an objective would have brought about.

Rows are counted from nothing, as if the objective had been declared then, with the same functions
that count ticks as they come. So it works for one that is not declared yet, as far back as raw rows
are kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from outrider.slo import burn, counting, keeping
from outrider.slo.track import Track
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.samples import Row
    from outrider.slo.burn import Counts
    from outrider.slo.maintenance import Maintenance
    from outrider.slo.objective import Objective
    from outrider.store.base import SeriesStore

_CHUNK_S = 3600.0


@dataclass(slots=True)
class Call:
    """One page or ticket: from when to when, and what it would have said at first."""

    what: str
    start_s: float
    end_s: float
    burn: float
    window_s: float


@dataclass(slots=True)
class Replay:
    """What would have happened. ``plain`` are the calls without the guard."""

    good: int = 0
    total: int = 0
    excluded: int = 0
    calls: list[Call] = field(default_factory=list)
    plain: list[Call] = field(default_factory=list)
    by: dict[str, Counts] = field(default_factory=dict)
    first_s: float | None = None

    def as_plain(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return asdict(self)


def replay(
    store: SeriesStore,
    sketches: counting.Sketches,
    objective: Objective,
    start_s: float,
    end_s: float,
    *,
    maintenance: Sequence[Maintenance] = (),
) -> Replay:
    """Return what an objective would have counted and called for in ``[start_s, end_s)``.

    Reads all rows of all hosts once, an hour at a time.
    """
    state, found = counting.State(), Replay()
    hosts = [host for host in store.hosts() if host != keys.FLEET]
    track: Track | None = None
    at_s = start_s
    while at_s < end_s:
        until_s = min(at_s + _CHUNK_S, end_s)
        rows: list[Row] = []
        for host in hosts:
            rows += keeping.rows_of(store.window(host, at_s, until_s), host)
        rows.sort(key=lambda row: row.at_s)
        at_s = until_s
        for place, row in enumerate(rows):
            counting.count(
                state, [objective], [row],
                interval_s=store.interval_s, sketches=sketches, maintenance=maintenance,
            )  # fmt: skip
            if place + 1 < len(rows) and rows[place + 1].at_s == row.at_s:
                continue  # another host's row of the same tick
            budget = state.budgets[objective.slug]
            track = track or Track(budget.begun_s, objective.period_s)
            track.add(row.at_s + store.interval_s, budget.all.good, budget.all.total)
            _judge(found, objective, track, row.at_s + store.interval_s)
    for kept in state.budgets.values():
        found.good, found.total = kept.all.good, kept.all.total
        found.excluded, found.first_s = kept.all.excluded, kept.begun_s
        found.by = {
            who: burn.Counts(each.total - each.good, each.total) for who, each in kept.by.items()
        }
    return found


def _judge(found: Replay, objective: Objective, track: Track, at_s: float) -> None:
    windows = track.windows(burn.WINDOWS_S)
    looks = keeping.looks(objective, track.window(objective.period_s))
    for calls, guarded in ((found.calls, True), (found.plain, False)):
        decision = burn.decide(windows, budget=objective.budget, looks=looks, guarded=guarded)
        for what, tier in (("page", decision.page), ("ticket", decision.ticket)):
            if tier is None:
                continue
            last = next((call for call in reversed(calls) if call.what == what), None)
            if last is not None and at_s - last.end_s < keeping.HELD_S:
                last.end_s = at_s
                continue
            calls.append(
                Call(
                    what, at_s, at_s,
                    round(windows[tier.long_s].burn(objective.budget), 2), tier.long_s,
                )
            )  # fmt: skip
