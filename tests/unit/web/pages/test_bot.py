"""The pages of a bot and of a host: what is stored of them, wherever the dashboard runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from outrider.store import keys
from outrider.supervisor import control

if TYPE_CHECKING:
    from tests.unit.web.conftest import Visitor
    from tests.unit.web.pages.conftest import Stored

CRASH = {
    "at_s": 1.0, "name": "canary", "pid": 7, "code": -9, "words": "killed by SIGKILL",
    "lived_s": 61.0, "crashes": 3, "then": "starting", "log": ["last words"],
    "metrics": {"rss_bytes": 5.0},
}  # fmt: skip


@pytest.fixture
def canary(stored: Stored) -> Stored:
    stored.bots({"name": "canary", "bot": "canary", "state": "ready", "restarts": 3})
    stored.row(
        {
            "host.cpu.used_ratio": 0.5, "bot.canary.up": 1.0, "bot.canary.cpu_ratio": 0.25,
            "bot.canary.rss_bytes": 100.0, "bot.canary.updates_total": 5.0,
            "bot.canary.messages_total": 9.0, "bot.canary.handler.start.p95_s": 0.1,
        }
    )  # fmt: skip
    stored.client.hset(keys.crashes("alpha"), "canary", json.dumps(CRASH))
    stored.did(who="supervisor@alpha", what="restart", bot="canary", why="it hung", result="done")
    stored.did(who="supervisor@beta", what="restart", bot="canary", why="another's", result="done")
    return stored


def test_a_bot_shows_its_state_charts_crash_and_what_was_done_to_it(
    canary: Stored, visitor: Visitor
) -> None:
    canary.fires(instance="bot.canary.rss_bytes", rule="memory grows")
    canary.row({"slo.bots-are-alive.by.canary.left_ratio": 0.75}, keys.FLEET)
    page = visitor.get("/api/bot?host=alpha&name=canary").json()

    assert (page["bot"]["state"], page["bot"]["restarts"]) == ("ready", 3)
    assert [alert["rule"] for alert in page["alerts"]] == ["memory grows"]
    assert [chart["series"] for chart in page["charts"]] == [
        "bot.canary.cpu_ratio", "bot.canary.rss_bytes", "bot.canary.updates_total",
        "bot.canary.handler.start.p95_s",
    ]  # fmt: skip
    assert [(crash["words"], crash["log"]) for crash in page["crashes"]] == [
        ("killed by SIGKILL", ["last words"])
    ]
    assert [(event["kind"], event["why"]) for event in page["events"]] == [("restart", "it hung")]
    assert page["budgets"] == [{"name": "bots-are-alive", "left_ratio": 0.75, "burn_1h": None}]
    assert page["log"] is None  # no supervisor beside this dashboard


def test_the_supervisor_beside_the_dashboard_tells_the_last_lines(
    canary: Stored, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [{"name": "canary", "log": ["hello"], "crash_reports": [CRASH, CRASH | {"at_s": 2.0}],
             "limits_held_by": {}}]  # fmt: skip
    monkeypatch.setattr(control, "answers", lambda run_dir: run_dir == canary.settings.run_dir())
    monkeypatch.setattr(control, "ask", lambda *_, **__: told)
    page = visitor.get("/api/bot?host=alpha&name=canary").json()
    assert page["log"] == ["hello"]
    assert [crash["at_s"] for crash in page["crashes"]] == [2.0, 1.0]


def test_without_a_name_there_is_a_list_and_a_wrong_one_is_refused(
    canary: Stored, visitor: Visitor
) -> None:
    del canary
    assert [bot["name"] for bot in visitor.get("/api/bot").json()["bots"]] == ["canary"]
    answer = visitor.get("/api/bot?name=owl")
    assert answer.status_code == 400
    assert answer.json()["error"] == "bot = 'owl' is not known; known are: canary."


def test_a_host_shows_its_bots_charts_and_changes(canary: Stored, visitor: Visitor) -> None:
    page = visitor.get("/api/host?name=alpha").json()
    assert page["host"]["cpu_used_ratio"] == 0.5
    assert [bot["name"] for bot in page["bots"]] == ["canary"]
    assert page["charts"] == [{"title": "CPU", "series": "host.cpu.used_ratio"}]
    assert [event["why"] for event in page["events"]] == ["it hung"]
    del canary


def test_a_host_that_is_not_known_is_refused_with_those_that_are(
    canary: Stored, visitor: Visitor
) -> None:
    del canary
    answer = visitor.get("/api/host?name=gone")
    assert (answer.status_code, answer.json()["error"]) == (
        400, "host = 'gone' is not known; known are: alpha.",
    )  # fmt: skip
