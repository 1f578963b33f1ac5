"""The analysis of a host as one report: what is wrong, since when, why, and what to do."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from outrider.analysis import compare, odd, trend, why
from outrider.analysis.state import HostState
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from outrider.analysis.beginnings import Annotation
    from outrider.analysis.outlook import Outlook
    from outrider.analysis.state import Found
    from outrider.samples import Window

# Series that run full or leak; the trend of the others is not news by itself.
_TRENDS = ("rss_bytes", "fds", "threads", "memory.used_ratio", "disk.used_ratio", "queue_length")
# A slope matters when it would change the series by this share within a day.
_MATTERS_PER_DAY = 0.1
_MOST = 20
# A verdict that gets better is news when it stays better: a level that is grazed is no story.
CALM_TICKS = 6


def build(
    window: Window,
    *,
    host: str,
    tick: int,
    interval_s: float = 10.0,
    state: HostState | None = None,
    annotations: Iterable[Annotation] = (),
    outlook: Outlook | None = None,
    fleet: Window | None = None,
    needs: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Learn a window's new ticks, and report on its last: ``(report, findings)``, JSON-able data.

    Findings are what began at these ticks: anomalies, changes, another verdict. Each carries the
    time at which it happened, so that one found twice is the same. ``fleet`` is the window of what
    no host owns, ``needs`` which bots each bot needs.
    """
    state = state if state is not None else HostState()
    changes = state.learn(window, annotations, interval_s=interval_s)
    oddities = odd.find(window, state)
    judged = why.judge(window, oddities, host=host, fleet=fleet, needs=needs)
    at_s = float(window.times_s[-1])
    findings = [_plain(each) | {"kind": "change", "of": each.kind} for each in changes]
    findings += [
        _plain(each) | {"kind": "anomaly", "at_s": each.since_s}
        for each in oddities
        if state.odd[each.series].tell()
    ]
    was = state.verdict
    since_s, is_news = state.settle(judged.state, at_s, patience_s=CALM_TICKS * interval_s)
    if is_news:
        findings.append({
            "kind": "verdict", "at_s": since_s, "state": judged.state, "was": was or None,
            "words": judged.verdict,
        })  # fmt: skip
    off = [each for each in compare.compare(state, window) if each.is_off]
    built = {
        "host": host,
        "tick": tick,
        "at_s": at_s,
        "state": judged.state,
        "since_s": since_s,
        "verdict": judged.verdict,
        "series": len(window.names),
        "ticks": len(window.times_s),
        "anomalies": [_plain(each) for each in oddities],
        "off_normal": [_plain(each) for each in off[:_MOST]],
        "trends": _trends(window),
        "bottleneck": judged.bottleneck,
        "causes": judged.causes,
        "recommendations": judged.recommendations,
        "outlook_at_s": outlook.at_s if outlook else None,
        "limits": [_plain(each) for each in outlook.limits] if outlook else [],
    }
    return _finite(built), _finite(findings)


def of_bot(report: dict[str, Any], bot: str) -> dict[str, Any]:
    """Return what a host's report says of one bot.

    >>> of_bot({"state": "ok", "anomalies": [{"series": "bot.a.fds"}, {"series": "x"}]}, "a")
    {'state': 'ok', 'anomalies': [{'series': 'bot.a.fds'}], 'bot': 'a'}
    """
    lists = ("anomalies", "off_normal", "trends", "limits", "changes", "findings")
    found = {
        key: [each for each in value if bot_of(str(each.get("series", ""))) == bot]
        if key in lists
        else value
        for key, value in report.items()
    }
    return found | {"bot": bot}


def _trends(window: Window) -> list[dict[str, Any]]:
    found = []
    places = [place for place, name in enumerate(window.names) if name.endswith(_TRENDS)]
    headings = trend.of_columns(window.times_s, window.values[:, places])
    for place, heading in zip(places, headings, strict=True):
        name = window.names[place]
        level = abs(float(window.values[-1, place])) or 1.0
        matters = abs(heading.slope_per_h) * 24 >= _MATTERS_PER_DAY * level
        if heading.direction != "flat" and matters:
            found.append({"series": name, "direction": heading.direction, **asdict(heading)})
    found.sort(key=lambda entry: -abs(entry["slope_per_h"]))
    return found[:_MOST]


def _plain(found: msgspec.Struct | Found) -> dict[str, Any]:
    return msgspec.structs.asdict(found)


def _finite(value: Any) -> Any:
    """Return data whose numbers are all finite; others become None, which JSON can say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
