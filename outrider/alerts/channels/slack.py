"""Tells a Slack channel by its incoming webhook.

Blocks of the type ``plain_text`` know neither markup nor mentions, so that a name can't call
everybody; the fall-back text, which notifications show, knows both, and is escaped as Slack asks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from outrider.alerts import guarded, wording
from outrider.alerts.message import READABLE

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import SlackSettings

_MOST = 2900  # a block takes 3000 characters
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_ICONS = {"info": "\N{INFORMATION SOURCE}", "warning": "\N{WARNING SIGN}"}


class SlackChannel:
    """Posts one block."""

    most_alerts = READABLE
    is_sink = False

    def __init__(self, given: SlackSettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Post the message; the server's status code is the result."""
        icon = _ICONS.get(message.severity, "\N{POLICE CARS REVOLVING LIGHT}")
        icon = icon if message.firing else "\N{WHITE HEAVY CHECK MARK}"
        shown = f"{icon} {wording.text(message, _MOST)}"
        block = {"type": "section", "text": {"type": "plain_text", "text": shown, "emoji": False}}
        body = {"text": f"{icon} {wording.title(message).translate(_MARKUP)}", "blocks": [block]}
        answer = guarded.post(
            self._given.url.get_secret_value(), json.dumps(body).encode(),
            what=f"slack {self.name}", allow_private=self._given.allow_private,
        )  # fmt: skip
        return str(answer.status)
