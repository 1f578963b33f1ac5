"""Decides whether a budget burns so fast that somebody must be woken, or told by daylight.

Multi-window, multi-burn-rate alerts (Google, "The Site Reliability Workbook", chapter 5): a *burn*
of 1 spends the budget exactly in its period. A tier fires when both of its windows burn at its rate
or faster: the long one says that it matters, the short one that it still goes on.

Where a bot has an event an hour, one failure is a burn of 100, and wakes somebody for nothing. So a
tier needs evidence besides: the lower confidence bound of the error ratio must exceed a burn of 1
in one of its windows, i.e. the failures are not what a service that just meets its objective shows
now and then. The threshold of the tier is left to the plain ratio: a bound that always had to
exceed it, too, would miss incidents (``benchmarks.slo`` measures both). Where the bound does exceed
it, half of the spending that the long window asks for is enough: nothing is left to wait for.

How sure the bound must be follows from how often we look. We look anew at each failure, and a
service that just meets its objective fails ``total * (1 - objective)`` times in a period. So each
look may be wrong with a chance of ``FALSE_ALARMS`` shared out among all of these (Bonferroni), and
among the windows of a tier. A busy service is looked at more often, and has to be surer; it can.

A window that began before anything was measured counts what was not measured as good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outrider.slo import evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["page", "ticket"]

HOUR_S, DAY_S = 3600.0, 86_400.0
# False alarms of a tier in a period, at most, of a service that just meets its objective. A bound:
# the burn has to be there besides, and what is measured is less than a tenth (``benchmarks.slo``).
FALSE_ALARMS = 5.0


@dataclass(frozen=True, slots=True)
class Tier:
    """A burn that is too fast, seen over two windows."""

    burn: float
    long_s: float
    short_s: float
    severity: Severity
    witnesses_s: tuple[float, ...]  # windows that may bring the evidence


TIERS = (
    Tier(14.4, HOUR_S, 300.0, "page", (HOUR_S, 1800.0, 300.0)),
    Tier(6.0, 6 * HOUR_S, 1800.0, "page", (6 * HOUR_S, HOUR_S, 1800.0)),
    Tier(3.0, DAY_S, 2 * HOUR_S, "ticket", (DAY_S, 6 * HOUR_S, 2 * HOUR_S)),
    Tier(1.0, 3 * DAY_S, 6 * HOUR_S, "ticket", (3 * DAY_S, DAY_S, 6 * HOUR_S)),
)
WINDOWS_S = tuple(sorted({span for tier in TIERS for span in (tier.long_s, tier.short_s)}))
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a window. ``covered`` is the share of it in which there was measuring."""

    bad: int
    total: int
    covered: float = 1.0

    def burn(self, budget: float) -> float:
        """Return how many times too fast the budget was spent; 0 when nothing happened."""
        return self.bad / self.total * self.covered / budget if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What a budget calls for: the fastest tier that fires of each severity, or None."""

    page: Tier | None
    ticket: Tier | None


def decide(
    windows: Mapping[float, Counts], *, budget: float, looks: float, guarded: bool = True
) -> Decision:
    """Return what windows, by their length in seconds, call for.

    ``budget`` is the error ratio that is allowed, ``looks`` how many failures a period may have.
    Without the guard it is the plain rule of the book.
    """
    firing: dict[Severity, Tier] = {}
    for tier in TIERS:
        burns = _burns(tier, windows, budget)
        if guarded:
            proven = _is_proven(tier, windows, budget if burns else tier.burn * budget, looks)
            fires = proven and (burns or _burns(tier, windows, budget, share=0.5))
        else:
            fires = burns
        if fires:
            firing.setdefault(tier.severity, tier)
    return Decision(firing.get("page"), firing.get("ticket"))


def doubt_allowed(tier: Tier, looks: float) -> float:
    """Return the chance with which one look at one window may be wrong."""
    return FALSE_ALARMS / max(looks, 1.0) / len(tier.witnesses_s)


def _burns(
    tier: Tier, windows: Mapping[float, Counts], budget: float, *, share: float = 1.0
) -> bool:
    least = tier.burn * share * (1 - _ROUNDING)
    return all(windows[span_s].burn(budget) >= least for span_s in (tier.long_s, tier.short_s))


def _is_proven(tier: Tier, windows: Mapping[float, Counts], ratio: float, looks: float) -> bool:
    doubt = doubt_allowed(tier, looks)
    return any(
        evidence.exceeds(windows[span_s].bad, windows[span_s].total, ratio, doubt)
        for span_s in tier.witnesses_s
    )
