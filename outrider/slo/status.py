"""How every budget is now: from the newest row of the fleet, which carries their series."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from outrider.samples import Row
from outrider.slo import attribution, burn, exhaustion, history, keeping, series
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from outrider.slo.objective import Objective
    from outrider.store.tiers import Tiers

_RECENT_S = 6 * 3600.0


def of_all(
    client: redis.Redis, tiers: Tiers, objectives: Sequence[Objective]
) -> list[dict[str, Any]]:
    """Return each objective with its counts, burns, what is left and until when, as plain data.

    Those that burn fastest stand first. What was not counted yet has ``total`` 0 and None.
    """
    row = tiers.raw.last(keys.FLEET) or Row(keys.FLEET, 0.0, {})
    state = keeping.load(client)
    found = []
    for objective in objectives:
        budget = state.budgets.get(objective.slug)
        each: list[str] = sorted(budget.by) if budget else []
        shown = _one(tiers, objective, "", row, by=each)
        if objective.each:
            shown["bots"] = [_one(tiers, objective, who, row) for who in each]
        found.append(shown)
    return sorted(found, key=lambda one: -one["burn_ratio"].get("1h", 0.0))


def _one(
    tiers: Tiers, objective: Objective, who: str, row: Row, *, by: Sequence[str] = ()
) -> dict[str, Any]:
    unit = series.unit(objective.slug, who)
    values, at_s = row.values, row.at_s
    left = values.get(f"{unit}.left_ratio")
    since_s, until_s = at_s - objective.period_s, at_s + 1
    period = (
        history.counts(tiers, unit, since_s, until_s) if left is not None else burn.Counts(0, 0)
    )
    ahead = None
    if left is not None:
        recent = history.counts(tiers, unit, at_s - _RECENT_S, until_s)
        ahead = exhaustion.ahead(left, recent, budget=objective.budget, period_s=objective.period_s)
    parts = {
        name: history.counts(tiers, series.unit(objective.slug, name), since_s, until_s)
        for name in by
    }
    return {
        "name": f"{objective.name}: {who}" if who else objective.name,
        "series": unit,
        "indicator": objective.indicator.text,
        "objective": objective.objective,
        "period_s": objective.period_s,
        "method": objective.method,
        "good": period.total - period.bad,
        "total": period.total,
        "good_ratio": 1 - period.bad / period.total if period.total else None,
        "left_ratio": left,
        "burn_ratio": {
            name: values[series.burn_ratio(unit, span_s)]
            for span_s, name in series.NAMES.items()
            if series.burn_ratio(unit, span_s) in values
        },
        "page": values.get(f"{unit}.page", 0.0) > 0,
        "ticket": values.get(f"{unit}.ticket", 0.0) > 0,
        "exhaustion": asdict(ahead) if ahead else None,
        "spent_by": [asdict(share) for share in attribution.rank(parts)],
    }
