"""Publishes to a topic of ntfy, as JSON, so that nothing of a message can become a header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from outrider.alerts import guarded, wording
from outrider.alerts.message import READABLE

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import NtfySettings

_MOST_BYTES = 3900  # ntfy makes an attachment of more than 4096
_PRIORITIES = {"info": 2, "warning": 3, "critical": 5}


class NtfyChannel:
    """Posts to the server's root, which is where ntfy takes JSON."""

    most_alerts = READABLE
    is_sink = False

    def __init__(self, given: NtfySettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Publish the message; the server's status code is the result."""
        text = wording.text(message).encode()[:_MOST_BYTES].decode("utf-8", "ignore")
        body: dict[str, Any] = {
            "topic": self._given.topic.get_secret_value(), "message": text, "markdown": False,
            "title": wording.clean(wording.title(message), 200),
            "priority": _PRIORITIES.get(message.severity, 3) if message.firing else 2,
            "tags": ["rotating_light" if message.firing else "white_check_mark"],
        }  # fmt: skip
        headers = {}
        if self._given.token:
            headers["Authorization"] = f"Bearer {self._given.token.get_secret_value()}"
        answer = guarded.post(
            self._given.url.get_secret_value(), json.dumps(body).encode(),
            what=f"ntfy {self.name}", allow_private=self._given.allow_private, headers=headers,
        )  # fmt: skip
        return str(answer.status)
