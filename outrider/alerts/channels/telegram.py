"""Tells a Telegram chat by a bot. Without ``parse_mode`` Telegram shows text as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from outrider.alerts import guarded, wording
from outrider.alerts.message import READABLE
from outrider.errors import DeliveryError

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import TelegramSettings

_MOST = 4000  # Telegram takes 4096


class TelegramChannel:
    """Calls ``sendMessage``."""

    most_alerts = READABLE
    is_sink = False

    def __init__(self, given: TelegramSettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Send the message; ``sent`` is the result."""
        body = {
            "chat_id": self._given.chat, "text": wording.text(message, _MOST),
            "link_preview_options": {"is_disabled": True},
            "disable_notification": message.severity == "info" or not message.firing,
        }  # fmt: skip
        server = self._given.url.get_secret_value().rstrip("/")
        answer = guarded.post(
            f"{server}/bot{self._given.token.get_secret_value()}/sendMessage",
            json.dumps(body).encode(), what=f"telegram {self.name}",
            allow_private=self._given.allow_private,
        )  # fmt: skip
        try:
            is_sent = json.loads(answer.body)["ok"] is True
        except (ValueError, KeyError, TypeError):
            is_sent = False
        if not is_sent:
            raise DeliveryError(
                f"telegram {self.name}: the server does not say ok; is url a Bot API server?",
                permanent=False,
            )
        return "sent"
