"""When a budget will be spent if it goes on as now, from soonest to latest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.slo import evidence

if TYPE_CHECKING:
    from outrider.slo.burn import Counts

_DOUBT = 0.05  # at each side


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """Seconds until the budget is spent. ``upper_s`` None: it may just as well last."""

    eta_s: float
    lower_s: float
    upper_s: float | None


def ahead(
    left_ratio: float, recent: Counts, *, budget: float, period_s: float
) -> Exhaustion | None:
    """Return when what is left is spent, at the burn of a recent window. None: it lasts.

    At a burn of 1 a whole budget lasts its period; what takes longer is never reached, as old
    failures leave the period meanwhile. The bounds are those of the recent error ratio, 90 %.

    >>> from outrider.slo.burn import Counts
    >>> ahead(0.5, Counts(36, 360), budget=0.01, period_s=30 * 86_400.0).eta_s / 86_400
    1.5
    """
    if left_ratio <= 0:
        return Exhaustion(0.0, 0.0, 0.0)

    def lasts_s(ratio: float) -> float | None:
        took_s = left_ratio * period_s * budget / ratio if ratio > 0 else period_s
        return took_s if took_s < period_s else None

    bad, total = recent.bad, recent.total
    eta_s = lasts_s(bad / total) if total else None
    if eta_s is None:
        return None
    soonest_s = lasts_s(evidence.upper_bound(bad, total, _DOUBT))
    latest_s = lasts_s(evidence.lower_bound(bad, total, _DOUBT))
    return Exhaustion(eta_s, eta_s if soonest_s is None else soonest_s, latest_s)
