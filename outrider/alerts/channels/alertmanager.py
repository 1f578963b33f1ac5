"""Hands every alert to an Alertmanager, which groups, silences and routes it further.

``POST /api/v2/alerts``, some hundred at a time. Alertmanager takes an alert that is not renewed for
over, so each is given an end that lies beyond the next reminder.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from outrider.alerts import guarded, labels, wording
from outrider.alerts.outbox import ACTIVE

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import AlertmanagerSettings

_AT_ONCE = 250


class AlertmanagerChannel:
    """A sink: it gets each alert, not a summary."""

    most_alerts = 10_000
    is_sink = True

    def __init__(self, given: AlertmanagerSettings, repeat_s: float) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given
        self._lasts_s = 2 * repeat_s + 3600

    def deliver(self, message: Message) -> str:
        """Post all alerts; how many is the result."""
        every = [self._alert(change, message.at_s) for change in message.alerts]
        url = f"{self._given.url.get_secret_value().rstrip('/')}/api/v2/alerts"
        for first in range(0, len(every), _AT_ONCE):
            guarded.post(
                url, json.dumps(every[first : first + _AT_ONCE]).encode(),
                what=f"alertmanager {self.name}", allow_private=self._given.allow_private,
            )  # fmt: skip
        return f"{len(every)} alerts"

    def _alert(self, change: dict[str, Any], at_s: float) -> dict[str, Any]:
        found = labels.of(change)
        named = {"alertname": found.pop("rule"), **found}
        fires = change["to"] in ACTIVE
        ends_s = at_s + self._lasts_s if fires else change["at_s"]
        alert = {
            # An empty label is none to Alertmanager.
            "labels": {name: wording.clean(value) for name, value in named.items() if value},
            "annotations": {"summary": wording.clean(change["summary"], 1000)},
            "endsAt": _rfc3339(ends_s),
        }
        # Without its beginning Alertmanager keeps the one that it knows of an alert that ends.
        return alert | ({"startsAt": _rfc3339(change["at_s"])} if fires else {})


def _rfc3339(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
