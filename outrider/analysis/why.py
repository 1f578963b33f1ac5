"""The diagnosis in the words of a report: state, cause and remedy as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from outrider import units
from outrider.analysis import diagnosis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from outrider.analysis.odd import Oddity
    from outrider.analysis.recommend import Check, Recommendation
    from outrider.samples import Window

Severity = Literal["ok", "warning", "critical"]


class Judgement(msgspec.Struct, frozen=True):
    """What is wrong with a host, why, and what to do; all but the first two are plain data."""

    state: Severity
    verdict: str
    bottleneck: dict[str, Any] | None
    causes: list[dict[str, Any]]
    recommendations: list[dict[str, Any]]


def judge(
    window: Window,
    odd: Sequence[Oddity],
    *,
    host: str,
    fleet: Window | None = None,
    needs: Mapping[str, tuple[str, ...]] | None = None,
) -> Judgement:
    """Return the judgement on a window's last tick.

    ``fleet`` is the window of what no host owns, ``needs`` which bots each bot needs.
    """
    found = diagnosis.diagnose(window, host=host, fleet=fleet, graph=needs)
    verdict = found.verdict
    if found.state == "ok" and odd:
        # Odd is not wrong: it is said, but it is no reason to wake anybody.
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        verdict = f"{verdict} Not as usual: {odd[0].series} = {odd[0].value:.4g}{more}."
    return Judgement(
        found.state,
        verdict,
        asdict(found.bottleneck) if found.bottleneck else None,
        [asdict(cause) | {"what": cause.words} for cause in found.causes],
        [_advised(each) for each in found.recommendations],
    )


def _advised(advice: Recommendation) -> dict[str, Any]:
    return asdict(advice) | {"verify": _checked(advice.verify) if advice.verify else ""}


def _checked(check: Check) -> str:
    """Return how to see that it helped.

    >>> from outrider.analysis.recommend import Check
    >>> _checked(Check("bot.a.loop_lag_s", "fall", 0.05, 60.0))
    'bot.a.loop_lag_s falls to 0.05 within 1m0s'
    """
    within = units.show_duration(check.within_s)
    return f"{check.series} {check.direction}s to {check.to:.4g} within {within}"
