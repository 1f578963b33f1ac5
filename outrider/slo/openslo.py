"""Objectives as OpenSLO v1 documents, and back (https://github.com/OpenSLO/OpenSLO).

An indicator of ours is an inline SLI whose metric source has the type ``outrider`` and one field,
``indicator``. SLOs over other sources are refused by name, as nothing here could measure them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from outrider import units
from outrider.errors import BadArgument
from outrider.settings import SloSettings
from outrider.slo import burn, objective
from outrider.slo.series import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.slo.objective import Objective

VERSION = "openslo/v1"
SOURCE = "outrider"
_LARGEST_BYTES = 1_000_000
_METHODS = {"Timeslices": "timeslices", "Occurrences": "occurrences"}
_NAMED = {value: name for name, value in _METHODS.items()}
# OpenSLO says M for months; a month of a rolling window is thirty days.
_SPANS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "Q": 7_776_000,
            "Y": 31_536_000}  # fmt: skip


def dumps(objectives: Iterable[Objective], *, tick_s: float = 10.0) -> str:
    """Return objectives, each with its alert policy, as a stream of YAML documents."""
    documents: list[dict[str, Any]] = [_condition(tier) for tier in burn.TIERS]
    documents.append({
        "apiVersion": VERSION,
        "kind": "AlertPolicy",
        "metadata": {"name": "error-budget-burns"},
        "spec": {
            "description": "Multi-window, multi-burn-rate, with evidence.",
            "alertWhenBreaching": True,
            "conditions": [{"conditionRef": _name(tier)} for tier in burn.TIERS],
            "notificationTargets": [],
        },
    })  # fmt: skip
    documents += [_slo(each, tick_s) for each in objectives]
    text: str = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
    return text


def loads(text: str) -> list[SloSettings]:
    """Return the objectives of all documents of the kind SLO.

    Raises:
        BadArgument: it is no YAML, no OpenSLO v1, or an SLO can't be measured here; says which.
    """
    if len(text.encode()) > _LARGEST_BYTES:
        raise BadArgument("this file is larger than 1 MB; no set of objectives is.")
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadArgument(f"this is no YAML: {' '.join(str(error).split())}") from None
    found = []
    for place, document in enumerate(documents, start=1):
        if document is None:
            continue
        if not isinstance(document, dict) or document.get("apiVersion") != VERSION:
            raise BadArgument(f"document {place}: expected apiVersion: {VERSION}.")
        if document.get("kind") == "SLO":
            found += _read(document, place)
    if not found:
        raise BadArgument("no document of the kind SLO is in this file.")
    return found


def to_toml(objectives: Iterable[SloSettings]) -> str:
    """Return objectives as tables for ``outrider.toml``."""
    return "\n".join(
        "[[slo]]\n"
        + "".join(
            f"{name} = {_toml(value)}\n"
            for name, value in each.model_dump(exclude_defaults=True).items()
        )
        for each in objectives
    )


def _slo(each: Objective, tick_s: float) -> dict[str, Any]:
    target: dict[str, Any] = {"displayName": each.name, "target": each.objective}
    if each.method == "timeslices":
        target |= {"timeSliceTarget": each.objective, "timeSliceWindow": f"{tick_s:g}s"}
    return {
        "apiVersion": VERSION,
        "kind": "SLO",
        "metadata": {
            "name": each.slug,
            "displayName": each.name,
            "annotations": {
                "outrider/bots": " ".join(each.bots),
                "outrider/each-bot": str(each.each).lower(),
            },
        },
        "spec": {
            "service": "bots",
            "indicator": {
                "metadata": {"name": each.slug},
                "spec": {
                    "ratioMetric": {
                        "counter": True,
                        "good": _source(each.indicator.text, "good"),
                        "total": _source(each.indicator.text, "total"),
                    }
                },
            },
            "timeWindow": [{"duration": f"{each.period_s / 86_400:g}d", "isRolling": True}],
            "budgetingMethod": _NAMED[each.method],
            "objectives": [target],
            "alertPolicies": ["error-budget-burns"],
        },
    }


def _source(indicator: str, what: str) -> dict[str, Any]:
    return {"metricSource": {"type": SOURCE, "spec": {"indicator": indicator, "counter": what}}}


def _name(tier: burn.Tier) -> str:
    return f"burns-{tier.burn:g}".replace(".", "-")


def _condition(tier: burn.Tier) -> dict[str, Any]:
    return {
        "apiVersion": VERSION,
        "kind": "AlertCondition",
        "metadata": {"name": _name(tier)},
        "spec": {
            "severity": tier.severity,
            "condition": {
                "kind": "burnrate",
                "op": "gte",
                "threshold": tier.burn,
                "lookbackWindow": NAMES[tier.long_s],
                "alertAfter": NAMES[tier.short_s],
            },
        },
    }


def _read(document: dict[str, Any], place: int) -> list[SloSettings]:
    metadata, spec = _table(document, "metadata"), _table(document, "spec")
    name = str(metadata.get("displayName") or metadata.get("name") or f"document {place}")
    indicator = _indicator(name, spec)
    notes = _table(metadata, "annotations")
    goals = spec.get("objectives")
    if not isinstance(goals, list) or not goals:
        raise BadArgument(f"SLO {name!r}: it has no objectives.")
    made = []
    for number, goal in enumerate(goals, start=1):
        given = {
            "name": name if len(goals) == 1 else f"{name} {number}",
            "indicator": indicator,
            "objective": _target(name, goal),
            "bots": tuple(str(notes.get("outrider/bots", "*")).split()) or ("*",),
            "each_bot": str(notes.get("outrider/each-bot", "false")),
            "period_s": _period(name, spec),
            "method": _method(name, spec),
        }
        try:
            made.append(SloSettings.model_validate(given))
        except ValidationError as invalid:
            first = invalid.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadArgument(f"SLO {name!r}: {where}: {first['msg']}.") from None
        objective.of(made[-1])
    return made


def _indicator(name: str, spec: dict[str, Any]) -> str:
    inline = _table(_table(spec, "indicator"), "spec")
    ratio = _table(inline, "ratioMetric")
    for metric in (ratio.get("good"), ratio.get("total"), inline.get("thresholdMetric")):
        source = _table(metric, "metricSource")
        written = _table(source, "spec").get("indicator")
        if source.get("type") == SOURCE and isinstance(written, str):
            return written
    raise BadArgument(
        f"SLO {name!r}: its indicator can't be measured here. Give it an inline ratioMetric whose "
        "metricSource has type: outrider and spec: {indicator: 'timed:handle_update<0.5s'}."
    )


def _target(name: str, goal: Any) -> float:
    found = _table({"goal": goal}, "goal")
    target, percent = found.get("target"), found.get("targetPercent")
    for value, scale in ((target, 1.0), (percent, 100.0)):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return round(value / scale, 12)
    raise BadArgument(f"SLO {name!r}: an objective needs a target, such as 0.995.")


def _period(name: str, spec: dict[str, Any]) -> float:
    windows = spec.get("timeWindow")
    window = windows[0] if isinstance(windows, list) and windows else {}
    text = str(_table({"window": window}, "window").get("duration", "30d"))
    if text[:-1].isdigit() and text[-1] in _SPANS_S:
        return float(text[:-1]) * _SPANS_S[text[-1]]
    raise BadArgument(f"SLO {name!r}: duration {text!r}; expected such as 30d or 4w.")


def _method(name: str, spec: dict[str, Any]) -> str:
    written = str(spec.get("budgetingMethod", "Occurrences"))
    if written in _METHODS:
        return _METHODS[written]
    raise BadArgument(
        f"SLO {name!r}: budgetingMethod {written!r}; here are {' and '.join(_METHODS)}."
    )


def _table(holder: Any, key: str) -> dict[str, Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    return found if isinstance(found, dict) else {}


def _toml(value: Any) -> str:
    import json

    if isinstance(value, tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, float) and value >= 1:
        return f'"{units.show_duration(value).removesuffix("0h").removesuffix("0m")}"'
    return json.dumps(value)
