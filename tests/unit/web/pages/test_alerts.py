"""The alerts page shows what is stored: alerts, who has them, silences, the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.alerts import acknowledgement, labels, message, silences
from outrider.alerts import log as told
from outrider.store import keys
from tests.unit.web.pages.conftest import EVIL

if TYPE_CHECKING:
    from tests.unit.web.conftest import Visitor
    from tests.unit.web.pages.conftest import Stored

KEY = "alpha|bot is down|bot.canary.up"


def test_an_alert_names_its_bot_and_host_and_who_has_it(stored: Stored, visitor: Visitor) -> None:
    stored.row({"bot.canary.up": 0.0})
    stored.fires()
    acknowledgement.add(
        stored.client, [KEY], author="ann", now_s=stored.now_s, comment="restarting it"
    )
    page = visitor.get("/api/alerts").json()

    (alert,) = page["alerts"]
    assert (alert["key"], alert["state"], alert["bot"], alert["on_host"]) == (
        KEY, "firing", "canary", "alpha",
    )  # fmt: skip
    assert (alert["ack"]["author"], alert["ack"]["comment"]) == ("ann", "restarting it")
    assert [(e["from"], e["to"], e["rule"]) for e in page["history"]] == [
        ("pending", "firing", "bot is down")
    ]
    assert page["said"][0]["did"] == "acknowledged"
    assert page["notices"] == []


def test_an_acknowledgement_that_ended_is_not_shown(stored: Stored, visitor: Visitor) -> None:
    stored.row({"bot.canary.up": 0.0})
    stored.fires()
    acknowledgement.add(stored.client, [KEY], author="ann", now_s=stored.now_s - 600, lasts_s=300.0)
    assert visitor.get("/api/alerts").json()["alerts"][0]["ack"] is None


def test_the_worst_that_fires_stands_first(stored: Stored, visitor: Visitor) -> None:
    for host, severity, state in (
        ("alpha", "warning", "firing"),
        ("beta", "critical", "pending"),
        ("gamma", "critical", "firing"),
    ):
        stored.row({"host.load.1m": 1.0}, host)
        stored.fires(host=host, severity=severity, state=state)
    page = visitor.get("/api/alerts").json()
    assert [alert["host"] for alert in page["alerts"]] == ["gamma", "alpha", "beta"]


def test_silences_and_the_notification_log_are_listed(stored: Stored, visitor: Visitor) -> None:
    silences.add(
        stored.client, {"host": "alpha"}, author="bob", now_s=stored.now_s, lasts_s=60.0,
        comment="new disk",
    )  # fmt: skip
    stored.client.lpush(
        keys.NOTIFICATIONS,
        told.entry(
            message.of_test(stored.now_s), "slack", at_s=stored.now_s, result="failed: 500",
            done=False, next_s=stored.now_s + 30,
        ),
    )  # fmt: skip
    page = visitor.get("/api/alerts").json()
    assert [(s["match"], s["author"], s["holds"]) for s in page["silences"]] == [
        ({"host": "alpha"}, "bob", True)
    ]
    (entry,) = page["told"]
    assert (entry["channel"], entry["result"], entry["next_s"]) == (
        "slack", "failed: 500", stored.now_s + 30,
    )  # fmt: skip
    assert page["channels"] == ["log"]


def test_hostile_texts_come_without_controls_and_keys_stay_what_they_are(
    stored: Stored, visitor: Visitor
) -> None:
    stored.row({"host.load.1m": 1.0})
    stored.fires(rule="<b>rule</b>", summary=EVIL)
    (alert,) = visitor.get("/api/alerts").json()["alerts"]
    assert alert["summary"] == "<img src=x onerror=alert(1)> [31m "
    assert alert["key"] == "alpha|<b>rule</b>|bot.canary.up"
    assert alert["key"] == labels.key(alert)


def test_a_damaged_record_is_named_and_the_rest_stands(stored: Stored, visitor: Visitor) -> None:
    stored.row({"bot.canary.up": 0.0})
    stored.fires()
    stored.client.lpush(keys.COMMENTS, "{cut off")
    page = visitor.get("/api/alerts").json()
    assert len(page["alerts"]) == 1
    assert page["notices"] == [
        "comments can't be read: a record in Redis is damaged (JSONDecodeError)."
    ]
