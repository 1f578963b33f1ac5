"""What is wrong with a host or the fleet, since when, why, and what to do: one call.

Pure: rows in, judgement out. It is made anew at each tick from the window, so that nothing needs to
be kept and a tick that is delivered twice is judged the same.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outrider.analysis import bottleneck as bottlenecks
from outrider.analysis import cause, onset, recommend, signals
from outrider.analysis import graph as graphs
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.analysis.bottleneck import Bottleneck
    from outrider.analysis.cause import Cause
    from outrider.analysis.onset import Usual
    from outrider.analysis.recommend import Recommendation
    from outrider.samples import Values, Window

Severity = Literal["ok", "warning", "critical"]
Needs = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A judgement with its reasons. ``dataclasses.asdict`` makes it JSON-able."""

    state: Severity
    verdict: str
    bottleneck: Bottleneck | None
    causes: tuple[Cause, ...]
    recommendations: tuple[Recommendation, ...]


def diagnose(
    window: Window,
    *,
    host: str,
    fleet: Window | None = None,
    graph: Mapping[str, tuple[str, ...]] | None = None,
    history: Mapping[str, Usual] | None = None,
) -> Diagnosis:
    """Return what is wrong at the newest tick of a window.

    ``fleet`` is the window of what no host owns, at the same ticks; ``graph`` which bots each bot
    needs (see ``graph.needs_of``); ``history`` what is usual for a series where more is known than
    this window. About 11 ms of CPU for 500 series at 360 ticks.
    """
    values = _newest(window) | (_newest(fleet) if fleet is not None else {})
    judged = signals.of_windows(window, fleet)
    changed = onset.changes(judged, history)
    parts = tuple(sorted({column.part for column in judged.columns}))
    needs = tuple((bot, tuple(needed)) for bot, needed in sorted((graph or {}).items()))
    causes = tuple(cause.rank(changed, _graph(parts, needs), step_s=judged.step_s))
    tight = bottlenecks.of(values, changed, causes)
    state, verdict = _judge(values, tight, causes)
    return Diagnosis(
        state, verdict, tight, causes, tuple(recommend.against_all(causes, tight, host=host))
    )


@functools.lru_cache(maxsize=64)
def _graph(parts: tuple[str, ...], needs: Needs) -> graphs.Graph:
    return graphs.of_parts(parts, dict(needs))


def _newest(window: Window) -> dict[str, float]:
    """Return the newest row; what is missing in it, such as a bot that was taken away, is not."""
    if not len(window.times_s):
        return {}
    newest = zip(window.names, window.values[-1].tolist(), strict=True)
    return {name: value for name, value in newest if math.isfinite(value)}


def _judge(
    values: Values, tight: Bottleneck | None, causes: tuple[Cause, ...]
) -> tuple[Severity, str]:
    """Return state and verdict, the gravest thing first."""
    bots = sorted({bot for series in values if (bot := bot_of(series))})
    down = [bot for bot in bots if values.get(f"bot.{bot}.up") == 0]
    why = f" {causes[0].words}." if causes else ""
    if down:
        return "critical", f"{len(down)} of {len(bots)} bots down: {', '.join(down)}.{why}"
    if causes:
        suffering = ", ".join(causes[0].explains)
        who = f" That is felt at {suffering}." if suffering else ""
        return "warning", f"{why.strip()}{who}"
    if tight:
        by = f", most of it by {tight.cause}" if tight.cause else ""
        return "warning", f"{tight.resource} is the bottleneck{by}: {tight.evidence[0]}."
    if bots:
        return "ok", f"All {len(bots)} bots are up; nothing is wrong."
    return "ok", "Nothing is wrong."
