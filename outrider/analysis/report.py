"""The analysis of a host as one report: what is wrong, since when, why, and what to do."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from outrider.analysis import anomaly, bottleneck, recommend, trend
from outrider.samples import bot_of

if TYPE_CHECKING:
    from outrider.analysis.bottleneck import Bottleneck
    from outrider.samples import Values, Window

Severity = Literal["ok", "warning", "critical"]
# Series that run full or leak; the trend of the others is not news by itself.
_TRENDS = ("rss_bytes", "fds", "threads", "memory.used_ratio", "disk.used_ratio", "queue_length")
_SURE = 0.99
# A slope matters when it would change the series by this share within a day.
_MATTERS_PER_DAY = 0.1


def build(window: Window, *, host: str, tick: int) -> dict[str, Any]:
    """Return the report on a window's last tick, as JSON-able data."""
    newest = zip(window.names, window.values[-1].tolist(), strict=True)
    # A series that is missing at the newest tick, such as a bot's that was taken away, is history.
    values = {name: value for name, value in newest if math.isfinite(value)}
    odd = anomaly.find(window)
    tight = bottleneck.find(values)
    state, verdict = judge(values, tight, odd)
    return {
        "host": host,
        "tick": tick,
        "at_s": float(window.times_s[-1]),
        "state": state,
        "verdict": verdict,
        "series": len(window.names),
        "ticks": len(window.times_s),
        "anomalies": [asdict(found) for found in odd],
        "trends": _trends(window),
        "bottleneck": asdict(tight) if tight else None,
        "recommendations": [asdict(advice) for advice in recommend.against(tight)],
    }


def judge(
    values: Values, tight: Bottleneck | None, odd: list[anomaly.Anomaly]
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


def _trends(window: Window) -> list[dict[str, Any]]:
    found = []
    places = [place for place, name in enumerate(window.names) if name.endswith(_TRENDS)]
    headings = trend.of_columns(window.times_s, window.values[:, places])
    for place, heading in zip(places, headings, strict=True):
        name = window.names[place]
        level = abs(float(window.values[-1, place])) or 1.0
        if (
            heading.confidence >= _SURE
            and abs(heading.slope_per_h) * 24 >= _MATTERS_PER_DAY * level
        ):
            found.append({"series": name, **asdict(heading)})
    found.sort(key=lambda entry: -abs(entry["slope_per_h"]))
    return found[:20]
