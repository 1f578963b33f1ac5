"""One sentence, the worst thing first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from outrider.web import verdict

NOW_S = dt.datetime(2027, 1, 15, 15, 0, tzinfo=dt.UTC).timestamp()
TWO_PAST_TWO_S = dt.datetime(2027, 1, 15, 14, 2, tzinfo=dt.UTC).timestamp()


def host(name: str = "alpha", **changes: Any) -> dict[str, Any]:
    calm = {"name": name, "fresh": True, "state": "ok", "verdict": "", "advice": [], "evidence": []}
    return calm | {"at_s": NOW_S, "since_s": NOW_S} | changes


def bot(name: str, health: str = "ok", **changes: Any) -> dict[str, Any]:
    return {"name": name, "health": health, "since_s": None, "host": "alpha", "reason": None,
            "state": "ready"} | changes  # fmt: skip


def alert(**changes: Any) -> dict[str, Any]:
    return {"rule": "pool nearly empty", "on": "canary", "state": "firing", "host": "alpha",
            "severity": "critical", "since_s": None, "summary": None} | changes  # fmt: skip


def said(hosts: list[Any], bots: list[Any], alerts: list[Any] | None = None) -> tuple[str, str]:
    judged = verdict.judge(hosts, bots, alerts or [])
    return judged.state, judged.text(NOW_S, dt.UTC)


def test_all_well() -> None:
    bots = [bot(str(number)) for number in range(6)]
    assert said([host()], bots) == ("ok", "All 6 bots are healthy.")


def test_a_bot_down_names_it_and_since_when() -> None:
    bots = [bot("canary", "critical", since_s=TWO_PAST_TWO_S), *[bot(str(n)) for n in range(5)]]
    assert said([host()], bots) == ("critical", "1 of 6 bots is down: canary since 14:02.")


def test_many_bots_down_name_three() -> None:
    bots = [bot(name, "critical") for name in "abcde"]
    assert said([host()], bots) == ("critical", "5 of 5 bots are down: a, b, c and 2 more.")


def test_yesterday_is_said_with_its_date() -> None:
    bots = [bot("canary", "critical", since_s=TWO_PAST_TWO_S - 86_400)]
    assert said([host()], bots)[1] == "1 of 1 bot is down: canary since 14 Jan 14:02."


def test_a_bot_stopped_on_purpose_is_no_fault() -> None:
    expected = "1 of 2 bots is healthy and 1 stopped on purpose."
    assert ("ok", expected) == said([host()], [bot("a"), bot("b", "off")])


def test_a_firing_alert_is_named() -> None:
    expected = "All 2 bots are healthy, but 1 alert fires: pool nearly empty on canary."
    assert ("critical", expected) == said([host()], [bot("a"), bot("b")], [alert()])


@pytest.mark.parametrize("quiet", [{"state": "pending"}, {"severity": "info"}])
def test_an_alert_that_only_waits_or_informs_does_not_worry(quiet: dict[str, str]) -> None:
    assert said([host()], [bot("a")], [alert(**quiet)])[0] == "ok"


def test_a_bot_down_weighs_more_than_alerts_and_remarks() -> None:
    remark = host(state="warning", verdict="Memory grows.")
    assert "is down" in said([remark], [bot("a", "critical")], [alert()])[1]


def test_what_the_analysis_remarks_is_passed_on() -> None:
    remark = host(state="warning", verdict="the disk fills within 3 h.")
    expected = "The bot is healthy, but on alpha: the disk fills within 3 h."
    assert ("warning", expected) == said([remark], [bot("a")])


def test_old_numbers_never_look_healthy() -> None:
    old = host(fresh=False, at_s=TWO_PAST_TWO_S)
    assert said([old], [bot("a", "unknown")]) == ("critical", "Nothing was measured since 14:02.")


def test_before_the_first_tick_nothing_is_wrong_yet() -> None:
    expected = ("unknown", "The first measurement is on its way.")
    assert expected == said([host(fresh=False, at_s=None)], [])


def test_advice_of_the_host_in_question_comes_first() -> None:
    hosts = [host("alpha", advice=["Sleep."]), host("beta", advice=["Restart canary."])]
    bots = [bot("canary", "critical", host="beta", reason="exit code 1")]
    judged = verdict.judge(hosts, bots, [])
    assert (judged.why, judged.advice) == ("exit code 1", "Restart canary.")


@pytest.mark.parametrize(
    ("state", "known", "heartbeat_age_s", "expected"),
    [
        ("ready", True, 0.5, "ok"),
        ("running", True, None, "ok"),
        ("starting", True, None, "warning"),
        ("ready", True, 11.0, "warning"),
        ("backoff", True, 11.0, "critical"),
        ("failed", True, None, "critical"),
        ("stopped", True, None, "off"),
        ("ready", False, 0.5, "unknown"),
        ("a state of a later version", True, None, "unknown"),
    ],
)
def test_health_of_a_bot(
    *, state: str, known: bool, heartbeat_age_s: float | None, expected: str
) -> None:
    assert expected == verdict.health(state, known=known, heartbeat_age_s=heartbeat_age_s)
