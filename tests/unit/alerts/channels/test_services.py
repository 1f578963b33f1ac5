"""Each service's channel against a local server that speaks its protocol."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts.channels.alertmanager import AlertmanagerChannel
from outrider.alerts.channels.apprise import AppriseChannel
from outrider.alerts.channels.discord import DiscordChannel
from outrider.alerts.channels.ntfy import NtfyChannel
from outrider.alerts.channels.slack import SlackChannel
from outrider.alerts.channels.telegram import TelegramChannel
from outrider.alerts.channels.webhook import WebhookChannel
from outrider.errors import DeliveryError
from outrider.settings_notify import (
    AlertmanagerSettings,
    AppriseSettings,
    DiscordSettings,
    NtfySettings,
    SlackSettings,
    TelegramSettings,
    WebhookSettings,
)
from tests.unit.alerts.channels.conftest import alert, message, nasty

if TYPE_CHECKING:
    from tests.unit.alerts.channels.conftest import Receiver


def slack(at: Receiver) -> SlackChannel:
    return SlackChannel(SlackSettings(url=at.url, allow_private=True))


def discord(at: Receiver) -> DiscordChannel:
    return DiscordChannel(DiscordSettings(url=at.url, allow_private=True))


def telegram(at: Receiver) -> TelegramChannel:
    at.body = b'{"ok": true}'
    return TelegramChannel(TelegramSettings(url=at.url, allow_private=True, token="1:a", chat="7"))


def ntfy(at: Receiver, **given: Any) -> NtfyChannel:
    return NtfyChannel(NtfySettings(url=at.url, allow_private=True, topic="ops", **given))


def alertmanager(at: Receiver) -> AlertmanagerChannel:
    return AlertmanagerChannel(AlertmanagerSettings(url=at.url, allow_private=True), 14_400)


def webhook(at: Receiver) -> WebhookChannel:
    return WebhookChannel(WebhookSettings(url=at.url, allow_private=True))


def apprise(at: Receiver) -> AppriseChannel:
    return AppriseChannel(AppriseSettings(urls=[at.url.replace("http://", "json://")]))


EVERY = [slack, discord, telegram, ntfy, alertmanager, webhook, apprise]


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("make", EVERY)
def test_names_of_an_enemy_arrive_harmless_and_bounded(make: Any, receiver: Receiver) -> None:
    make(receiver).deliver(nasty())
    sent = receiver.json()

    assert len(json.dumps(sent)) < 30_000 if make is not webhook else len(json.dumps(sent)) < 2.2e6
    if make is webhook:  # a program reads it: its text is clean, its alerts are as they are
        sent = {"text": sent["text"]}
    for text in texts(sent):
        assert "\x1b" not in text
        assert "\x00" not in text
        assert "\u202e" not in text
        assert "\nBcc" not in text


def test_slack_shows_text_without_markup_and_mentions_nobody(receiver: Receiver) -> None:
    assert slack(receiver).deliver(nasty()) == "200"
    sent = receiver.json()
    (block,) = sent["blocks"]

    assert block["text"]["type"] == "plain_text"
    assert len(block["text"]["text"]) <= 3000
    assert "<!channel>" not in sent["text"]
    assert "&lt;!channel&gt;" in sent["text"]


def test_discord_escapes_markdown_and_mentions_nobody(receiver: Receiver) -> None:
    assert discord(receiver).deliver(nasty()) == "200"
    sent = receiver.json()
    (embed,) = sent["embeds"]

    assert sent["allowed_mentions"] == {"parse": []}
    assert "\\*\\*b\\*\\*" in embed["title"]
    assert "](http" not in embed["description"]
    assert len(embed["title"]) <= 256
    assert len(embed["description"]) <= 4096


def test_telegram_sends_plain_text_to_the_chat(receiver: Receiver) -> None:
    assert telegram(receiver).deliver(message()) == "sent"
    ((path, _, _),) = receiver.seen
    sent = receiver.json()

    assert path == "/hook/bot1:a/sendMessage"
    assert (sent["chat_id"], sent["text"]) == ("7", "[critical] firing on alpha: it burns")
    assert "parse_mode" not in sent


@pytest.mark.parametrize("body", [b'{"ok": false}', b"<html>", b"[]"])
def test_telegram_believes_only_an_ok(body: bytes, receiver: Receiver) -> None:
    channel = telegram(receiver)
    receiver.body = body
    with pytest.raises(DeliveryError, match="does not say ok"):
        channel.deliver(message())


def test_no_token_is_shown_in_an_error(receiver: Receiver) -> None:
    channel = telegram(receiver)
    receiver.status = 404
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(message())

    assert "1:a" not in str(caught.value)


def test_ntfy_gets_a_priority_and_a_token(receiver: Receiver) -> None:
    assert ntfy(receiver, token="tk").deliver(message()) == "200"
    ((_, headers, _),) = receiver.seen
    sent = receiver.json()

    assert headers["Authorization"] == "Bearer tk"
    assert (sent["topic"], sent["priority"], sent["markdown"]) == ("ops", 5, False)
    assert len(sent["message"].encode()) < 4096


def test_alertmanager_gets_each_alert_with_labels_beginning_and_end(receiver: Receiver) -> None:
    over = alert(to="inactive", at_s=1_795_454_720.0, instance="x")
    assert alertmanager(receiver).deliver(message(alert(), over)) == "2 alerts"
    ((path, _, _),) = receiver.seen
    first, second = receiver.json()

    assert path == "/hook/api/v2/alerts"
    assert first["labels"] == {
        "alertname": "bot is down", "severity": "critical", "host": "alpha",
        "instance": "bot.canary.up", "bot": "canary",
    }  # fmt: skip
    assert first["annotations"] == {"summary": "it burns"}
    assert first["startsAt"] == "2026-11-23T17:24:20.000+00:00"
    assert first["endsAt"] == "2026-11-24T02:24:20.000+00:00", "twice repeat_s and an hour"
    assert second["endsAt"] == "2026-11-23T17:25:20.000+00:00"
    assert "startsAt" not in second


def test_alertmanager_gets_a_storm_in_pieces(receiver: Receiver) -> None:
    storm = [alert(instance=f"bot.b{number}.up") for number in range(600)]
    assert alertmanager(receiver).deliver(message(*storm)) == "600 alerts"

    assert [len(json.loads(body)) for _, _, body in receiver.seen] == [250, 250, 100]


def test_apprise_hands_the_message_on(receiver: Receiver) -> None:
    assert apprise(receiver).deliver(message()) == "1 services"
    sent = receiver.json()

    assert sent["title"] == "[critical] firing on alpha: it burns"
    assert sent["type"] == "failure"
    receiver.status = 500
    with pytest.raises(DeliveryError, match="did not take it"):
        apprise(receiver).deliver(message())


def test_apprise_that_is_missing_or_given_nonsense_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = AppriseChannel(AppriseSettings(urls=["nonsense://secret"]))
    with pytest.raises(DeliveryError, match="address 1 is none") as caught:
        bad.deliver(message())
    assert "secret" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(DeliveryError, match=r"outrider\[apprise\]"):
        bad.deliver(message())
