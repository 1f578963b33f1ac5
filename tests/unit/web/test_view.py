"""The snapshot that page, events and terminal share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from outrider.store import keys
from outrider.web import view

if TYPE_CHECKING:
    from tests.unit.web.conftest import Fleet


def look(fleet: Fleet) -> dict[str, Any]:
    client: Any = fleet.shelf
    seen = view.snapshot(fleet.store, client, fleet.now_s)
    json.dumps(seen, allow_nan=False)  # whatever a test puts in, it stays plain data
    return seen


def test_an_empty_store_says_what_to_run(fleet: Fleet) -> None:
    seen = look(fleet)
    assert seen["verdict"]["text"] == "Nothing has reported yet."
    assert "outrider up" in seen["verdict"]["advice"]
    assert (seen["hosts"], seen["bots"], seen["data_age_s"]) == ([], [], None)


def test_a_healthy_fleet_reads_as_one_sentence(fleet: Fleet) -> None:
    assert look(fleet.healthy())["verdict"]["text"] == "The bot is healthy."


def test_a_fleet_of_which_nothing_is_known_has_the_same_fields(fleet: Fleet) -> None:
    assert look(fleet).keys() == view.nothing(fleet.now_s, 10.0).keys()


def test_a_bot_row_joins_the_supervisor_and_the_series(fleet: Fleet) -> None:
    fleet.beat()
    fleet.series(
        "alpha",
        {"bot.canary.rss_bytes": 3e7, "bot.canary.cpu_ratio": 0.5, "bot.canary.uptime_s": 90.0},
    )
    fleet.bots({"name": "canary", "state": "ready", "restarts": 2, "pid": 7})
    (bot,) = look(fleet)["bots"]
    expected: dict[str, Any] = {"name": "canary", "host": "alpha", "state": "ready", "health": "ok"}
    expected |= {"restarts": 2.0, "rss_bytes": 3e7, "cpu_ratio": 0.5, "uptime_s": 90.0, "pid": 7}
    assert expected == {name: bot[name] for name in expected}


def test_a_bot_that_nobody_supervises_is_shown_too(fleet: Fleet) -> None:
    fleet.beat()
    fleet.series("alpha", {"bot.lonely.ready": 1.0, "bot.lonely.heartbeat_age_s": 0.4})
    assert [(b["name"], b["state"]) for b in look(fleet)["bots"]] == [("lonely", "running")]


def test_a_hanging_bot_is_not_healthy_though_its_process_lives(fleet: Fleet) -> None:
    fleet.beat()
    fleet.series("alpha", {"bot.canary.heartbeat_age_s": 60.0, "bot.canary.up": 1.0})
    fleet.bots({"name": "canary", "state": "ready"})
    seen = look(fleet)
    assert seen["bots"][0]["health"] == "warning"
    assert "not responding: canary since" in seen["verdict"]["text"]


def test_updates_per_minute_survive_a_restart_of_the_counter(fleet: Fleet) -> None:
    fleet.beat()
    for age_s, updates in ((40.0, 1000.0), (30.0, 1010.0), (20.0, 5.0), (10.0, 15.0), (0.0, 25.0)):
        fleet.series("alpha", {"bot.canary.updates_total": updates}, age_s=age_s)
    (bot,) = look(fleet)["bots"]
    assert pytest.approx(60 * (10 + 5 + 10 + 10) / 40) == bot["updates_per_min"]


def test_a_gap_in_the_data_is_a_gap_in_the_sparkline(fleet: Fleet) -> None:
    fleet.beat()
    for age_s, cpu in ((30.0, 0.1), (20.0, 0.2), (0.0, 0.4)):
        fleet.series("alpha", {"bot.canary.cpu_ratio": cpu}, age_s=age_s)
    (bot,) = look(fleet)["bots"]
    assert bot["sparks"]["cpu"][-5:] == [None, 0.1, 0.2, None, 0.4]
    assert len(bot["sparks"]["cpu"]) == 60


def test_a_chart_keeps_the_highest_reading_of_each_step(fleet: Fleet) -> None:
    fleet.store.interval_s = 1.0
    for second in range(20):
        spike = 0.9 if second == 3 else 0.1
        fleet.store.append("alpha", int(fleet.now_s) - second, {"host.cpu.used_ratio": spike})
    fleet.beat()
    cpu = look(fleet)["hosts"][0]["charts"]["cpu"]
    assert [max(point for point in cpu if point), len(cpu)] == [0.9, 180]


def test_missing_and_impossible_numbers_become_nothing(fleet: Fleet) -> None:
    fleet.beat()
    fleet.series("alpha", {"host.cpu.used_ratio": float("nan"), "host.load.1m": float("inf")})
    (host,) = look(fleet)["hosts"]
    assert [host["cpu_used_ratio"], host["load_1m"]] == [None, None]


def test_damaged_records_are_counted_and_the_rest_stands(fleet: Fleet) -> None:
    fleet.healthy()
    fleet.shelf.held[keys.report("alpha")] = b"{not json"
    fleet.shelf.held[keys.ACTIONS] = [b'{"what": 3}', b'{"at_s": 1, "what": "restart"}', b"\xff"]
    seen = look(fleet)
    assert [seen["damaged"], len(seen["events"])] == [3, 1]


def test_an_alert_tells_who_was_told(fleet: Fleet) -> None:
    fleet.healthy()
    since_s = fleet.now_s - 30
    fleet.alert(rule="bot down", instance="canary", state="firing", since_s=since_s)
    fleet.push(
        keys.HISTORY, id="t1", rule="bot down", instance="canary", host="alpha", severity="warning",
        from_="pending", to="firing", at_s=since_s,
    )  # fmt: skip
    fleet.push(keys.NOTIFICATIONS, at_s=since_s + 1, channel="webhook", result="delivered", id="t1")
    seen = look(fleet)
    (alert,) = seen["alerts"]
    assert seen["damaged"] == 0
    assert alert["on"] == "canary (alpha)"
    assert [(t["channel"], t["result"]) for t in alert["told"]] == [("webhook", "delivered")]


def test_resolved_alerts_are_not_active(fleet: Fleet) -> None:
    fleet.alert(rule="a", state="inactive")
    fleet.beat()
    assert look(fleet)["alerts"] == []


def test_events_are_merged_newest_first_and_leave_out_alerts_that_never_fired(fleet: Fleet) -> None:
    fleet.beat()
    at_s = fleet.now_s
    for change in (
        ("pending", "firing", 30),
        ("firing", "inactive", 10),
        ("inactive", "pending", 5),
    ):
        was, to, age_s = change
        fleet.push(keys.HISTORY, rule="lag", host="alpha", from_=was, to=to, at_s=at_s - age_s)
    fleet.push(keys.ACTIONS, at_s=at_s - 20, who="ann", what="restart", bot="canary", result="ok")
    assert [event["what"] for event in look(fleet)["events"]] == [
        "Resolved: lag",
        "Restart",
        "Alert: lag",
    ]


def test_shared_resources_come_from_the_fleet_and_it_is_no_host(fleet: Fleet) -> None:
    fleet.healthy()
    values = {"redis.up": 1.0, "redis.latency_s": 0.001, "celery.queue.outrider.alerts.length": 4.0}
    fleet.series(keys.FLEET, values)
    seen = look(fleet)
    assert [host["name"] for host in seen["hosts"]] == ["alpha"]
    assert seen["resources"]["redis"]["latency_s"] == 0.001
    assert [(queue["name"], queue["length"]) for queue in seen["resources"]["queues"]] == [
        ("outrider.alerts", 4.0)
    ]


def test_a_silent_host_makes_its_bots_unknown(fleet: Fleet) -> None:
    fleet.healthy()
    fleet.series("beta", {"bot.echo.up": 1.0}, age_s=300.0)
    fleet.beat("beta", age_s=290.0)
    fleet.bots({"name": "echo", "state": "ready"}, host="beta")
    seen = look(fleet)
    assert [(bot["name"], bot["health"]) for bot in seen["bots"]] == [
        ("echo", "unknown"),
        ("canary", "ok"),
    ]
    assert seen["verdict"]["text"].startswith("1 of 2 hosts is silent: beta since ")


def test_a_host_gone_for_a_day_is_forgotten(fleet: Fleet) -> None:
    fleet.healthy()
    fleet.beat("old", age_s=90_000.0)
    fleet.series("old", {"host.load.1m": 1.0}, age_s=90_000.0)
    assert [host["name"] for host in look(fleet)["hosts"]] == ["alpha"]


@pytest.mark.parametrize(("age_s", "lag"), [(0.0, 0), (10.0, 0), (20.0, 1), (300.0, 29)])
def test_the_tick_lag_counts_rows_that_should_be_there(
    fleet: Fleet, age_s: float, lag: int
) -> None:
    fleet.beat()
    fleet.series("alpha", {"host.load.1m": 1.0}, age_s=age_s)
    assert lag == look(fleet)["tick_lag"]


def test_names_from_outside_lose_what_moves_a_cursor_and_keep_their_markup(fleet: Fleet) -> None:
    fleet.beat()
    fleet.row(host__load__1m=1.0)
    fleet.bots({"name": "<b>\x1b[31m\u202eevil\n" + "x" * 5000, "state": "ready"})
    (bot,) = look(fleet)["bots"]
    assert bot["name"].startswith("<b> [31m evil xxx")
    assert len(bot["name"]) <= 400


def test_without_its_supervisor_a_bot_is_unknown_though_its_last_word_was_good(
    fleet: Fleet,
) -> None:
    fleet.beat()
    fleet.series("alpha", {"supervisor.up": 0.0, "bot.lonely.ready": 1.0})
    fleet.bots({"name": "canary", "bot": "canary", "state": "ready"})
    seen = look(fleet)
    assert [(bot["name"], bot["health"]) for bot in seen["bots"]] == [
        ("canary", "unknown"),
        ("lonely", "ok"),
    ]
    assert seen["verdict"]["text"] == "1 of 2 bots is unknown: canary."
    assert "supervisor of alpha does not answer" in seen["verdict"]["why"]


def test_a_record_with_numbers_that_json_does_not_know_is_read(fleet: Fleet) -> None:
    fleet.healthy()
    fleet.shelf.held[keys.report("alpha")] = (
        b'{"state": "ok", "verdict": "half \\ud800 a pair", '
        b'"anomalies": [{"series": "x", "value": NaN}]}'
    )
    seen = look(fleet)
    assert (seen["damaged"], seen["hosts"][0]["anomalies"][0]["value"]) == (0, None)
    assert seen["hosts"][0]["verdict"].encode() == b"half   a pair"


def test_cores_are_told_in_the_kernels_order(fleet: Fleet) -> None:
    fleet.beat()
    busy = {f"host.cpu.core.{core}.used_ratio": core / 16 for core in (10, 2, 0)}
    fleet.series("alpha", busy | {"host.cpu.used_ratio": 0.5})
    assert look(fleet)["hosts"][0]["cores"] == [0.0, 0.125, 0.625]
