from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from outrider.alerts import ways
from outrider.alerts.channels.webhook import WebhookChannel
from outrider.settings import Settings
from outrider.settings_notify import WebhookSettings
from tests.unit.alerts.channels.conftest import alert, message

if TYPE_CHECKING:
    from tests.unit.alerts.channels.conftest import Receiver


def channel(receiver: Receiver, **given: Any) -> WebhookChannel:
    return WebhookChannel(WebhookSettings(url=receiver.url, allow_private=True, **given))


def test_a_message_is_posted_as_json(receiver: Receiver) -> None:
    assert channel(receiver).deliver(message()) == "200"
    ((path, headers, body),) = receiver.seen

    assert path == "/hook"
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["X-Outrider-Id"] == "m1"
    assert "X-Outrider-Signature" not in headers
    assert json.loads(body) == {
        "version": 2, "id": "m1", "kind": "news", "severity": "critical",
        "text": "[critical] firing on alpha: it burns", "at_s": 1_795_454_660.0,
        "route": "default",
        "group": {"id": "g1", "labels": {"host": "alpha", "rule": "bot is down"}},
        "firing": 1, "resolved": 0, "unlisted": 0, "level": 0, "alerts": [alert()],
    }  # fmt: skip


def test_a_message_is_signed_over_its_time_and_body(receiver: Receiver) -> None:
    channel(receiver, secret="a secret of ours").deliver(message())
    ((_, headers, body),) = receiver.seen
    signed = headers["X-Outrider-Timestamp"].encode() + b"." + body
    wanted = hmac.new(b"a secret of ours", signed, hashlib.sha256).hexdigest()

    assert headers["X-Outrider-Signature"] == f"v1={wanted}"


def test_the_settings_choose_the_channels() -> None:
    url = {"url": "https://hooks.example/x"}
    mail = {"host": "mail.example", "sender": "a@example.com", "to": ["b@example.com"]}
    every = {
        "webhook": [url, url | {"name": "second"}], "email": mail, "slack": url, "discord": url,
        "telegram": {"token": "t", "chat": "1"}, "ntfy": {"topic": "t"}, "alertmanager": url,
        "apprise": {"urls": ["json://h"]},
    }  # fmt: skip

    assert [c.name for c in ways.of_settings(Settings())] == ["log"]
    settings = Settings.model_validate({"notify": every})
    assert [c.name for c in ways.of_settings(settings)] == [
        "log", "webhook", "second", "email", "slack", "discord", "telegram", "ntfy",
        "alertmanager", "apprise",
    ]  # fmt: skip
    assert settings.notify.channels() == [c.name for c in ways.of_settings(settings)]
