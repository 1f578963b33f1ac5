"""Tells a Discord channel by its webhook. Markdown in names is escaped, and nobody is mentioned."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from outrider.alerts import guarded, wording
from outrider.alerts.message import READABLE

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import DiscordSettings

_MOST_TITLE, _MOST = 250, 3900  # of an embed: 256 and 4096, and escapes count
_MARKUP = re.compile(r"([\\*_`~|>#\[\]()<:@-])")
_COLOURS = {"info": 0x56B4E9, "warning": 0xE69F00, "critical": 0xD55E00}
_RESOLVED = 0x009E73


class DiscordChannel:
    """Posts one embed."""

    most_alerts = READABLE
    is_sink = False

    def __init__(self, given: DiscordSettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Post the message; the server's status code is the result."""
        colour = _COLOURS.get(message.severity, _COLOURS["warning"])
        embed = {
            "title": _escaped(wording.title(message), _MOST_TITLE),
            "description": _escaped(wording.text(message, _MOST // 2), _MOST),
            "color": colour if message.firing else _RESOLVED,
        }
        body = {"embeds": [embed], "allowed_mentions": {"parse": []}}
        answer = guarded.post(
            self._given.url.get_secret_value(), json.dumps(body).encode(),
            what=f"discord {self.name}", allow_private=self._given.allow_private,
        )  # fmt: skip
        return str(answer.status)


def _escaped(text: str, most: int) -> str:
    # Cut before an escape, not within one.
    return re.sub(r"\\+$", "", _MARKUP.sub(r"\\\1", text)[:most])
