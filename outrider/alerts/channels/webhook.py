"""Posts a message as JSON, signed, for programs: the format is versioned and documented.

``X-Outrider-Signature: v1=<hex>`` is the HMAC-SHA256 of ``<timestamp>.<body>`` with the secret,
where the timestamp is that of ``X-Outrider-Timestamp``, in seconds. A receiver compares both in
constant time and refuses what is older than five minutes, so that nothing can be replayed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from outrider.alerts import guarded, wording

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import WebhookSettings

FORMAT_VERSION = 2


class WebhookChannel:
    """Posts ``{"version": 2, "text": ..., "alerts": [...]}``."""

    most_alerts = 200
    is_sink = False

    def __init__(self, given: WebhookSettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Post the message; the server's status code is the result."""
        body = json.dumps(payload(message)).encode()
        headers = {"X-Outrider-Id": message.id}
        if self._given.secret:
            timestamp = str(int(time.time()))
            signed = signature(self._given.secret.get_secret_value(), timestamp, body)
            headers |= {"X-Outrider-Timestamp": timestamp, "X-Outrider-Signature": signed}
        answer = guarded.post(
            self._given.url.get_secret_value(), body, what=f"webhook {self.name}",
            allow_private=self._given.allow_private, headers=headers,
        )  # fmt: skip
        return str(answer.status)


def payload(message: Message) -> dict[str, Any]:
    """Return the JSON object of a message."""
    return {
        "version": FORMAT_VERSION, "id": message.id, "kind": message.kind,
        "text": wording.title(message), "severity": message.severity, "at_s": message.at_s,
        "route": message.route, "group": {"id": message.group, "labels": message.labels},
        "firing": message.firing, "resolved": message.resolved, "unlisted": message.unlisted,
        "level": message.level, "alerts": message.alerts,
    }  # fmt: skip


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what the header ``X-Outrider-Signature`` must hold.

    >>> signature("0123456789abcdef", "1795454660", b"{}")[:19]
    'v1=5be729dc6bf47005'
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"
