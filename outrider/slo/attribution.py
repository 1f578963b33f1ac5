"""Who spent the budget: bots (or hosts) by their share of all that was bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.slo.burn import Counts


@dataclass(frozen=True, slots=True)
class Share:
    """One bot's part. ``fair_ratio`` is how many times its share of the events it spent."""

    who: str
    bad: int
    total: int
    spent_ratio: float
    fair_ratio: float


def rank(by: Mapping[str, Counts]) -> list[Share]:
    """Return who spent a budget, the greatest part first; those without failures come last.

    >>> from outrider.slo.burn import Counts
    >>> [(one.who, one.spent_ratio, one.fair_ratio)
    ...  for one in rank({"canary": Counts(3, 100), "finch": Counts(1, 300)})]
    [('canary', 0.75, 3.0), ('finch', 0.25, 0.333)]
    """
    bad = sum(each.bad for each in by.values())
    total = sum(each.total for each in by.values())
    found = []
    for who, each in by.items():
        spent = each.bad / bad if bad else 0.0
        part = each.total / total if total else 0.0
        fair = spent / part if part else 0.0
        found.append(Share(who, each.bad, each.total, round(spent, 4), round(fair, 3)))
    return sorted(found, key=lambda each: (-each.bad, each.who))
