"""What was changed: deploys, restarts, orders, scaling, tuning, maintenance; one line of time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from outrider.database import fleet
from outrider.database.journal import Journal
from outrider.slo import maintenance
from outrider.store import keys
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source

MOST_ACTIONS = 1000
MOST_SHOWN = 500
# What an order or event is, by words in its name; the first that fits.
_KINDS = (
    ("deploy", ("reload", "deploy", "rolling", "upgrade")),
    ("crash", ("crash", "killed", "failed", "gave up", "hang", "lost")),
    ("scale", ("scale",)),
    ("restart", ("restart", "start", "stop", "ready")),
    ("tuning", ("limit", "tune", "pool")),
)
_REPORTS = ("database", "cache", "process")


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return the newest changes, newest first, and what the newest tuning reports advise."""
    del asked
    parts = Parts()
    return {
        "changes": timeline(source, parts)[:MOST_SHOWN],
        "reports": [
            report
            for what in _REPORTS
            if (report := parts.one(f"the report on {what}", _report, source, what))
        ],
        "notices": parts.notices,
    }


def timeline(source: Source, parts: Parts) -> list[dict[str, Any]]:
    """Return every change that is kept, newest first.

    Each has ``at_s``, ``kind``, ``what``, ``on`` (a bot, a setting), ``host``, ``who``, ``why``,
    ``result``, ``before`` and ``after``.
    """
    found = [
        *parts.many("the log of actions", _actions, source),
        *parts.many("the database's journal", _settings, source),
        *parts.many("maintenance", _maintenance, source),
    ]
    return sorted(found, key=lambda change: -change["at_s"])


def kind_of(what: str) -> str:
    """Say what sort of change an action is.

    >>> kind_of("restart"), kind_of("crash report"), kind_of("memory limit"), kind_of("odd")
    ('restart', 'crash', 'tuning', 'order')
    """
    low = what.lower()
    return next((kind for kind, words in _KINDS if any(word in low for word in words)), "order")


def _actions(source: Source) -> list[dict[str, Any]]:
    raws = cast("list[bytes]", source.client.lrange(keys.ACTIONS, 0, MOST_ACTIONS - 1))
    return [_action(json.loads(raw)) for raw in raws]


def _action(action: dict[str, Any]) -> dict[str, Any]:
    who, what = str(action.get("who") or ""), str(action["what"])
    host = str(action.get("host") or who.partition("@")[2])
    return _change(
        float(action["at_s"]), kind_of(what), what, on=str(action.get("bot") or ""), host=host,
        who=who, why=str(action.get("why") or ""), result=str(action.get("result") or ""),
    )  # fmt: skip


def _settings(source: Source) -> list[dict[str, Any]]:
    server = fleet.server_name(source.settings)
    if server is None:
        return []
    return [
        _change(
            each.at_s, "tuning", "database setting",
            on=f"{each.role}: {each.name}" if each.role else each.name, who=each.by,
            result=each.state, before=each.value_before, after=each.after,
            why="; ".join(f"{name} {value}" for name, value in each.evidence.items()
                          if isinstance(value, str | int | float)),
        )
        for each in Journal(source.client, server).changes()
    ]  # fmt: skip


def _maintenance(source: Source) -> list[dict[str, Any]]:
    return [
        _change(each.start_s, "maintenance", "planned maintenance", on=each.bot, who=each.author,
                why=each.reason, until_s=each.end_s)
        for each in maintenance.planned(source.client)
    ]  # fmt: skip


def _change(at_s: float, kind: str, what: str, **more: Any) -> dict[str, Any]:
    blank = {"on": "", "host": "", "who": "", "why": "", "result": "", "before": "", "after": ""}
    return {"at_s": at_s, "kind": kind, "what": what} | blank | more


def _report(source: Source, what: str) -> dict[str, Any] | None:
    raw = cast("bytes | None", source.client.get(keys.tuning(what)))
    if raw is None:
        return None
    report = json.loads(raw)
    listed = report.get("recommendations") or report.get("suggestions") or []
    listed = listed or [{"text": each["text"]} for each in report.get("warnings", [])]
    return {"what": what, "at_s": report["at_s"], "advice": listed[:20]}
