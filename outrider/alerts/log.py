"""The notification log: who was told, of what, when, by which channel, and with what result.

A list under ``or:alerts:log``, newest first. An entry is JSON::

    {"at_s": ..., "channel": "slack", "result": "200", "done": true, "next_s": null, "tries": 1,
     "message": "9f2c...", "kind": "news", "route": "default", "group": {"host": "alpha", ...},
     "severity": "critical", "firing": 1, "resolved": 0, "text": "[critical] firing on alpha: ...",
     "id": "...", "ids": ["..."], "alerts": ["alpha|bot is down|bot.canary.up"],
     "rule": "bot is down", "instance": "bot.canary.up", "host": "alpha", "to": "firing"}

``result`` says ``failed: ...`` for what is tried again at ``next_s``, and ``gave up: ...`` for what
is not. ``ids`` are the changes of state that the message lists, ``id`` and the last four those of
the first. What is still to be told, and when: :func:`outrider.alerts.delivery.waiting`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from outrider.alerts import labels, wording
from outrider.store import keys

if TYPE_CHECKING:
    import redis

    from outrider.alerts.message import Message

KEPT = 10_000


def entry(
    message: Message,
    channel: str,
    *,
    at_s: float,
    result: str,
    done: bool,
    next_s: float | None = None,
) -> str:
    """Return an entry as it is stored."""
    first = message.alerts[0] if message.alerts else {}
    return json.dumps(
        {
            "at_s": at_s, "channel": channel, "result": wording.clean(result, 500), "done": done,
            "next_s": next_s, "tries": message.tries + 1, "message": message.id,
            "kind": message.kind, "route": message.route, "group": message.labels,
            "severity": message.severity, "firing": message.firing, "resolved": message.resolved,
            "text": wording.title(message), "id": first.get("id", message.id),
            "ids": [alert["id"] for alert in message.alerts],
            "alerts": [labels.key(alert) for alert in message.alerts],
            **{name: first.get(name, "") for name in ("rule", "instance", "host", "to")},
        }
    )  # fmt: skip


def read(client: redis.Redis, most: int = 100, *, alert: str | None = None) -> list[dict[str, Any]]:
    """Return who was told lately, newest first; with ``alert`` only what lists that one."""
    last = KEPT - 1 if alert else most - 1
    stored = cast("list[bytes]", client.lrange(keys.NOTIFICATIONS, 0, last))
    found = [json.loads(text) for text in stored]
    return [one for one in found if alert is None or alert in one["alerts"]][:most]
