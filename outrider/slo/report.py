"""The report on a month: what was promised, what was kept, who spent the budget, what was planned.

Read from counters, so that the figures of a month are the sums of its ticks: whoever adds up the
raw rows gets the same.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from outrider.errors import BadArgument
from outrider.slo import attribution, history, keeping, series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

    from outrider.slo.burn import Counts
    from outrider.slo.counting import State
    from outrider.slo.maintenance import Maintenance
    from outrider.slo.objective import Objective
    from outrider.store.tiers import Tiers

VERSION = 1


def month(text: str, timezone: str) -> tuple[float, float]:
    """Return when a month such as ``2026-11`` begins and ends, in seconds since 1970.

    Raises:
        BadArgument: it is no month.
    """
    zone = zoneinfo.ZoneInfo(timezone)
    try:
        first = dt.datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
    except ValueError:
        raise BadArgument(f"{text!r} is no month; write it like 2026-11.") from None
    after = (first.replace(day=28) + dt.timedelta(days=4)).replace(day=1)
    return first.timestamp(), after.timestamp()


def build(
    client: redis.Redis,
    tiers: Tiers,
    objectives: Sequence[Objective],
    start_s: float,
    end_s: float,
    *,
    maintenance: Iterable[Maintenance],
    calls: Iterable[dict[str, Any]],
    timezone: str,
    now_s: float,
) -> dict[str, Any]:
    """Return the report as JSON-able data; ``calls`` is the alerts' history of changes.

    Days are those of the time zone. A month that is not over is reported as far as it went.
    """
    until_s = min(end_s, now_s)
    state = keeping.load(client)
    listed = list(calls)
    windows = [each for each in maintenance if each.start_s < until_s and each.end_s > start_s]
    return {
        "version": VERSION,
        "start_s": start_s,
        "end_s": end_s,
        "until_s": until_s,
        "timezone": timezone,
        "made_s": now_s,
        "objectives": [
            _objective(tiers, each, state, start_s, until_s)
            | {"calls": _calls(each, listed, start_s, until_s)}
            | {"days": _days(tiers, each, start_s, until_s, timezone)}
            for each in objectives
            if each.slug in state.budgets
        ],
        "maintenance": [each.plain() for each in windows],
    }


def _objective(
    tiers: Tiers, objective: Objective, state: State, start_s: float, end_s: float
) -> dict[str, Any]:
    unit = series.unit(objective.slug)
    counted = history.counts(tiers, unit, start_s, end_s)
    budget = state.budgets[objective.slug]
    by = {
        who: history.counts(tiers, series.unit(objective.slug, who), start_s, end_s)
        for who in sorted(budget.by)
    }
    from_s = max(start_s, budget.begun_s)
    return {
        "name": objective.name,
        "slug": objective.slug,
        "indicator": objective.indicator.text,
        "objective": objective.objective,
        "method": objective.method,
        **_kept(counted, objective),
        "excluded": history.excluded(tiers, unit, start_s, end_s),
        "measured_since_s": from_s if from_s < end_s else None,
        "measured_ratio": round(max(0.0, end_s - from_s) / (end_s - start_s), 4),
        "spent_by": [asdict(share) for share in attribution.rank(by)],
    }


def _kept(counted: Counts, objective: Objective) -> dict[str, Any]:
    total, bad = counted.total, counted.bad
    return {
        "good": total - bad,
        "bad": bad,
        "total": total,
        "good_ratio": (total - bad) / total if total else None,
        "is_kept": total == 0 or bad <= objective.budget * total * (1 + 1e-9),
        "spent_ratio": round(bad / (objective.budget * total), 4) if total else 0.0,
    }


def _days(
    tiers: Tiers, objective: Objective, start_s: float, end_s: float, timezone: str
) -> list[dict[str, Any]]:
    zone = zoneinfo.ZoneInfo(timezone)
    day = dt.datetime.fromtimestamp(start_s, zone)
    unit, found = series.unit(objective.slug), []
    names = (series.good(unit), series.total(unit))
    before = [history.at(tiers, name, start_s) for name in names]
    while day.timestamp() < end_s:
        after = day + dt.timedelta(days=1)
        reached = [history.at(tiers, name, min(after.timestamp(), end_s)) for name in names]
        good, total = (new - old for new, old in zip(reached, before, strict=True))
        found.append({"day": day.date().isoformat(), "bad": total - good, "total": total})
        before, day = reached, after
    return found


def _calls(
    objective: Objective, changes: Iterable[dict[str, Any]], start_s: float, end_s: float
) -> list[dict[str, Any]]:
    prefix = f"{series.unit(objective.slug)}."
    return sorted(
        (
            {"at_s": each["at_s"], "rule": each["rule"], "severity": each["severity"]}
            for each in changes
            if str(each.get("instance", "")).startswith(prefix)
            and each.get("to") == "firing"
            and each.get("from") != "firing"
            and start_s <= each["at_s"] < end_s
        ),
        key=lambda call: call["at_s"],
    )
