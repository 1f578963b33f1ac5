"""What fires and how it came about, who has it, who was told: as ``outrider alerts`` has it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from outrider.alerts import acknowledgement, comments, delivery, journal, labels, log, silences
from outrider.store import keys
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source

MOST = 200
_ORDER = ("firing", "error", "no_data", "recovering", "pending", "resolved")
_SEVERITY = {"critical": 0, "warning": 1, "info": 2}


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return the alerts, the newest changes of state, silences, what people said, and the log."""
    del asked
    client, now_s, parts = source.client, source.clock.now(), Parts()
    channels = source.settings.notify.channels()
    waiting = parts.many("what waits to be told", delivery.waiting, client, channels)
    return {
        "alerts": active(source, parts),
        "history": [_about(each) for each in parts.many("history", journal.history, client, MOST)],
        "silences": [
            asdict(each) | {"holds": each.holds(now_s)}
            for each in parts.many("silences", silences.read, client, now_s)
        ],
        "said": parts.many("comments", comments.read, client, MOST),
        "told": parts.many("the notification log", log.read, client, MOST),
        "waiting": waiting,
        "channels": list(channels),
        "notices": parts.notices,
    }


def active(source: Source, parts: Parts) -> list[dict[str, Any]]:
    """Return the alerts that are not inactive, the worst first, each with who has it as ``ack``."""
    client = source.client
    found = [
        asdict(alert)
        for host in sorted({*source.store.hosts(), keys.FLEET})
        for alert in parts.many(f"alerts of {host}", journal.active, client, host)
    ]
    names = [labels.key(alert) for alert in found]
    acks = parts.one("acknowledgements", acknowledgement.of, client, names) or {}
    now_s = source.clock.now()
    listed = []
    for alert in found:
        has_it = acks.get(labels.key(alert))
        holds = has_it is not None and has_it.holds(now_s)
        listed.append(_about(alert) | {"ack": asdict(has_it) if has_it and holds else None})
    return sorted(listed, key=_rank)


def _rank(alert: dict[str, Any]) -> tuple[int, int, float]:
    place = _ORDER.index(alert["state"]) if alert["state"] in _ORDER else len(_ORDER)
    return place, _SEVERITY.get(alert["severity"], 1), alert["since_s"]


def _about(alert: dict[str, Any]) -> dict[str, Any]:
    """Add what an alert is called by, and the bot and host it is about."""
    named = labels.of(alert)
    return alert | {
        "key": labels.key(alert),
        "bot": named.get("bot", ""),
        "on_host": "" if named["host"] == keys.FLEET else named["host"],
    }
