"""Good and total as counters: what each new row of each host adds to what is counted.

The state remembers of each host the last row that was counted and the counters in it, so that a row
counts once, whoever delivers it again. A row that comes after a later one of its host is not
counted. What lies in planned maintenance goes to ``excluded`` instead, and stays visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from outrider.samples import bot_of
from outrider.slo.look import Look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from outrider.samples import Row
    from outrider.slo.maintenance import Maintenance
    from outrider.slo.objective import Objective

    Sketches = Callable[[str, str, float, float], Mapping[int, int]]

# A host that was silent for longer is looked at anew, so that its counters' jump is not one tick's.
FORGOTTEN_AFTER_S = 86_400.0


class Counted(msgspec.Struct):
    """Counters of one objective, of all together or of one bot."""

    good: int = 0
    total: int = 0
    excluded: int = 0


class Host(msgspec.Struct):
    """What the last counted row of a host left."""

    at_s: float
    kept: dict[str, float] = {}


class Budget(msgspec.Struct):
    """Counters of one objective since ``begun_s``; ``by`` says whose they are."""

    begun_s: float
    all: Counted = msgspec.field(default_factory=Counted)
    by: dict[str, Counted] = {}


class State(msgspec.Struct):
    """Everything that is counted, as of a tick. ``calls`` is when each budget last called."""

    tick: int = -1
    hosts: dict[str, Host] = {}
    budgets: dict[str, Budget] = {}
    calls: dict[str, float] = {}


def count(
    state: State,
    objectives: Sequence[Objective],
    rows: Iterable[Row],
    *,
    interval_s: float,
    sketches: Sketches,
    maintenance: Sequence[Maintenance] = (),
) -> None:
    """Add rows, in the order of their times, to the state."""
    for row in rows:
        host = state.hosts.get(row.host)
        if host is not None and row.at_s <= host.at_s:
            continue
        if host is None or row.at_s - host.at_s > FORGOTTEN_AFTER_S:
            host = Host(row.at_s - interval_s)
        since_s = host.at_s
        look = Look(
            row.values, row.at_s, interval_s, host.kept,
            ticks=max(1, round((row.at_s - since_s) / interval_s)),
            read=_reader(sketches, row, since_s, interval_s),
        )  # fmt: skip
        bots = sorted({bot for name in row.values if (bot := bot_of(name))})
        for objective in objectives:
            budget = state.budgets.setdefault(objective.slug, Budget(row.at_s))
            for who in [row.host] if objective.indicator.kind == "ticks" else bots:
                if objective.concerns(who):
                    _add(budget, objective, who, look, maintenance)
        state.hosts[row.host] = Host(row.at_s, host.kept)


def _add(
    budget: Budget,
    objective: Objective,
    who: str,
    look: Look,
    maintenance: Sequence[Maintenance],
) -> None:
    good, total = objective.counted(*objective.indicator.seen(who, look))
    if not total:
        return
    planned = any(each.covers(objective.slug, who, look.at_s) for each in maintenance)
    for counted in (budget.all, budget.by.setdefault(who, Counted())):
        if planned:
            counted.excluded += total
        else:
            counted.good += good
            counted.total += total


def _reader(
    sketches: Sketches, row: Row, since_s: float, interval_s: float
) -> Callable[[str], Mapping[int, int]]:
    def read(series: str) -> Mapping[int, int]:
        return sketches(row.host, series, since_s + interval_s, row.at_s + interval_s)

    return read
