"""The one place where reports ask for state, cause and remedy of a host.

Another diagnosis is wired up here, and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from outrider.analysis import bottleneck, recommend
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.analysis.bottleneck import Bottleneck
    from outrider.analysis.odd import Oddity
    from outrider.analysis.recommend import Recommendation
    from outrider.samples import Values, Window

Severity = Literal["ok", "warning", "critical"]
_RISKS = {
    "outrider.supervise.diagnose": "none: it only looks",
    "outrider.supervise.restart": "the bot is away for some seconds",
    "outrider.tune.database": "none: it only reports",
    "outrider.tune.process": "none: it only reports",
}


class Judgement(msgspec.Struct, frozen=True):
    """What is wrong with a host, why, and what to do; all but the first two are plain data."""

    state: Severity
    verdict: str
    bottleneck: dict[str, Any] | None
    causes: list[dict[str, Any]]
    recommendations: list[dict[str, Any]]


def judge(window: Window, odd: Sequence[Oddity], *, host: str) -> Judgement:
    """Return the judgement on a window's last tick."""
    del host
    newest = zip(window.names, window.values[-1].tolist(), strict=True)
    # A series that is missing at the newest tick, such as a bot's that was taken away, is history.
    values = {name: value for name, value in newest if math.isfinite(value)}
    tight = bottleneck.find(values)
    state, verdict = _verdict(values, tight, odd)
    causes = []
    if tight and tight.cause:
        causes.append({"what": tight.cause, "evidence": list(tight.evidence[1:])})
    return Judgement(
        state,
        verdict,
        asdict(tight) if tight else None,
        causes,
        [_advised(each, tight) for each in recommend.against(tight)],
    )


def _verdict(
    values: Values, tight: Bottleneck | None, odd: Sequence[Oddity]
) -> tuple[Severity, str]:
    """Return the state of a host and one sentence on it, the gravest thing first."""
    bots = sorted({bot for series in values if (bot := bot_of(series))})
    down = [bot for bot in bots if values.get(f"bot.{bot}.up") == 0]
    if down:
        return "critical", f"{len(down)} of {len(bots)} bots down: {', '.join(down)}."
    if tight:
        by = f", most of it by {tight.cause}" if tight.cause else ""
        return "warning", f"{tight.resource} is the bottleneck{by}: {tight.evidence[0]}."
    calm = f"All {len(bots)} bots are up; nothing is wrong." if bots else "Nothing is wrong."
    if odd:
        # Odd is not wrong: it is said, but it is no reason to wake anybody.
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        return "ok", f"{calm} Not as usual: {odd[0].series} = {odd[0].value:.4g}{more}."
    return "ok", calm


def _advised(advice: Recommendation, tight: Bottleneck | None) -> dict[str, Any]:
    series = tight.evidence[0].split(" ", 1)[0] if tight else ""
    return asdict(advice) | {
        "gain": "unknown",
        "risk": _RISKS.get(advice.task, "see the task's page"),
        "verify": f"{series} falls below its level within ten minutes" if series else "",
    }
