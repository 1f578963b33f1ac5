"""A report as titled tables of words: what the terminal prints, and the page shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider import units
from outrider.analysis import words
from outrider.samples import is_counter

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Section:
    """A table with a title; every cell is text, not yet escaped."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def sections(report: dict[str, Any], now_s: float) -> list[Section]:
    """Return the parts of a report that have something to say."""
    made = (
        Section("Why", ("what", "evidence"), list(_why(report))),
        Section(
            "What to do", ("advice", "action", "gain", "risk", "verify"),
            list(_advice(report)),
        ),
        Section(
            "Not as usual", ("series", "now", "expected", "fired", "since"),
            [_anomaly(each, now_s) for each in report["anomalies"]],
        ),
        Section(
            "Off its normal", ("what", "now", "usual", "score", "by"),
            [_off(each) for each in report["off_normal"]],
        ),
        Section(
            "Trends", ("series", "direction", "an hour", "confidence"),
            [_trend(each) for each in report["trends"]],
        ),
        Section(
            "Changes", ("at", "series", "from", "to", "size"),
            [_change(each, now_s) for each in report.get("findings", ())
             if each["kind"] == "change"][:30],
        ),
        Section(
            "Limits", ("what", "series", "used", "limit", "met in", "between"),
            [_limit(each) for each in report["limits"]],
        ),
        Section(
            "What happened", ("at", "what"),
            [_happened(each, now_s) for each in report.get("findings", ())
             if each["kind"] in ("anomaly", "verdict")][:30],
        ),
    )  # fmt: skip
    return [section for section in made if section.rows]


def comparisons(found: list[dict[str, Any]]) -> Section:
    """Return a table of series beside their normal."""
    return Section("Normal", ("what", "now", "usual", "score", "by"), [_off(one) for one in found])


def _why(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    tight = report.get("bottleneck")
    if tight:
        yield str(tight.get("resource", "")), "; ".join(map(str, tight.get("evidence", ())))
    for cause in report.get("causes", ()):
        named = str(cause.get("what") or cause.get("name") or "")
        sure = cause.get("confidence")
        shown = f"{named} ({sure:.0%} sure)" if isinstance(sure, float) else named
        evidence = cause.get("evidence", ())
        listed = [evidence] if isinstance(evidence, str) else evidence
        yield shown, "; ".join(each if isinstance(each, str) else _said(each) for each in listed)


def _said(evidence: Any) -> str:
    """Return a piece of evidence as words, when it has some."""
    if isinstance(evidence, dict):
        return str(evidence.get("words") or evidence.get("text") or json.dumps(evidence))
    return str(evidence)


def _advice(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for each in report.get("recommendations", ()):
        given = " ".join(f"{key}={value}" for key, value in (each.get("kwargs") or {}).items())
        task = str(each.get("task") or "").removeprefix("outrider.")
        action = f"outrider run {task} {given}".strip() if task else str(each.get("setting") or "")
        parts = (each.get(name) or "" for name in ("gain", "risk", "verify"))
        yield str(each.get("text", "")), action, *(str(part) for part in parts)


def _anomaly(each: dict[str, Any], now_s: float) -> tuple[str, ...]:
    name = each["series"]
    since = words.clock(each["since_s"], now_s)
    if is_counter(name):  # the growth of a tick, which has no unit of its own
        span = f"{each['low']:.4g} - {each['high']:.4g}"
        return name, f"{each['value']:.4g} a tick", span, each["component"], since
    return (
        name, words.value(name, each["value"]), words.span(name, each["low"], each["high"]),
        str(each["component"]).replace("_", " "), since,
    )  # fmt: skip


def _off(each: dict[str, Any]) -> tuple[str, ...]:
    name = each["series"]
    return (
        each["words"], words.value(name, each["now"]), words.span(name, each["low"], each["high"]),
        f"{each['score']:+.1f}", each["season"] or "level",
    )  # fmt: skip


def _trend(each: dict[str, Any]) -> tuple[str, ...]:
    slope = words.value(each["series"], each["slope_per_h"])
    sign = "+" if each["slope_per_h"] > 0 else ""
    return each["series"], each["direction"], f"{sign}{slope}", f"{each['confidence']:.3f}"


def _change(each: dict[str, Any], now_s: float) -> tuple[str, ...]:
    name, slope = each["series"], " an hour" if each["of"] == "slope" else ""
    before, after = (words.value(name, each[key]) + slope for key in ("before", "after"))
    return words.clock(each["at_s"], now_s), name, before, after, f"{each['spreads']:.1f} spreads"


def _limit(each: dict[str, Any]) -> tuple[str, ...]:
    name, eta_s = each["series"], each["eta_s"]
    used = f"{words.value(name, each['value'])} ({each['used_ratio']:.0%})"
    limit = words.value(name, each["limit"])
    if eta_s is None:
        return each["what"], name, used, limit, "not heading there", ""
    last = "never" if each["upper_s"] is None else units.show_duration(each["upper_s"])
    between = f"{units.show_duration(each['lower_s'])} and {last}"
    return each["what"], name, used, limit, units.show_duration(eta_s), between


def _happened(each: dict[str, Any], now_s: float) -> tuple[str, ...]:
    said = each["words"] if each["kind"] == "anomaly" else f"{each['state']}: {each['words']}"
    return words.clock(each["at_s"], now_s), said
