from __future__ import annotations

import json
from typing import Any

import numpy as np

from outrider.analysis import report
from outrider.analysis.beginnings import Annotation
from outrider.analysis.limits import Limit
from outrider.analysis.outlook import Outlook
from outrider.analysis.state import HostState
from outrider.samples import Window
from outrider.store.rows import MISSING

TICKS, STEP_S = 61, 300.0
RANDOM = np.random.default_rng(7)


def window(columns: dict[str, object]) -> Window:
    values = [np.broadcast_to(np.asarray(column, float), TICKS) for column in columns.values()]
    return Window(tuple(columns), np.arange(0, 10.0 * TICKS, 10), np.array(values).T)


def built(**columns: object) -> dict[str, object]:
    named = {name.replace("__", "."): column for name, column in columns.items()}
    return report.build(window(named), host="h", tick=60)[0]


def ended(before: float, last: float) -> list[float]:
    return [before] * (TICKS - 1) + [last]


def test_all_is_well() -> None:
    found = built(bot__a__up=1, bot__b__up=1, host__cpu__used_ratio=0.5)

    assert (found["state"], found["verdict"]) == ("ok", "All 2 bots are up; nothing is wrong.")
    assert (found["host"], found["tick"], found["at_s"], found["ticks"]) == ("h", 60, 600.0, 61)
    assert found["bottleneck"] is None
    assert found["anomalies"] == found["trends"] == found["recommendations"] == []


def test_a_host_without_bots_is_not_said_to_have_some() -> None:
    assert built(host__cpu__used_ratio=0.5)["verdict"] == "Nothing is wrong."


def test_a_bot_that_is_down_is_the_gravest() -> None:
    found = built(bot__a__up=ended(1, 0), bot__b__up=1, host__cpu__used_ratio=0.99)

    assert (found["state"], found["verdict"]) == ("critical", "1 of 2 bots down: a.")


def test_a_bot_that_was_taken_away_is_neither_up_nor_down() -> None:
    gone, lagged = ended(1, MISSING), ended(9, MISSING)
    found = built(bot__a__up=1, bot__gone__up=gone, bot__gone__loop_lag_s=lagged)

    assert found["verdict"] == "All 1 bots are up; nothing is wrong."


def test_a_bottleneck_comes_with_its_cause_and_what_to_do() -> None:
    found = built(host__memory__used_ratio=0.97, bot__a__up=1, bot__a__rss_bytes=1e9)

    assert found["state"] == "warning"
    assert "memory is the bottleneck, most of it by a" in str(found["verdict"])
    assert isinstance(found["recommendations"], list)
    assert found["recommendations"][0]["kwargs"] == {"bot": "a"}


def taught(days: int, **usual: float) -> tuple[HostState, int]:
    """Return a state that has seen series within 5 % of what is usual, and its next tick."""
    ticks = np.arange(days * 288)
    columns: list[Any] = [
        level * (1 + 0.05 * np.sin(ticks * (7.0 + at))) for at, level in enumerate(usual.values())
    ]
    names = tuple(name.replace("__", ".") for name in usual)
    state = HostState()
    state.learn(
        Window(names, ticks.astype(np.float64) * STEP_S, np.array(columns, dtype=np.float64).T),
        interval_s=STEP_S,
    )
    return state, len(ticks)


def told(state: HostState, tick: int, **row: float) -> tuple[dict[str, Any], Any]:
    names = tuple(name.replace("__", ".") for name in row)
    made = Window(names, np.array([tick * STEP_S]), np.array([[*row.values()]]))
    return report.build(made, host="h", tick=tick, interval_s=STEP_S, state=state)


def test_what_is_odd_is_said_but_wakes_nobody() -> None:
    state, tick = taught(3, bot__a__up=1, x=1, y=1)
    found, _ = told(state, tick, bot__a__up=1, x=1000, y=5000)

    assert found["state"] == "ok"
    assert "Not as usual: y = 5000 and 1 more." in found["verdict"]
    assert [each["series"] for each in found["anomalies"]] == ["y", "x"]


def test_an_oddity_says_what_was_expected_and_which_component_fired() -> None:
    state, tick = taught(3, bot__a__rss_bytes=100 << 20)
    (odd,) = told(state, tick, bot__a__rss_bytes=900 << 20)[0]["anomalies"]

    assert (odd["component"], odd["value"]) == ("novelty", 900 << 20)
    assert 0 < odd["low"] < 100 << 20 < odd["high"] < 200 << 20
    assert odd["since_s"] == tick * STEP_S
    assert odd["words"].startswith("a's rss is 900.0 MiB, expected ")


def test_a_little_more_than_ever_is_no_news() -> None:
    state, tick = taught(3, x=100)
    found, _ = told(state, tick, x=109)

    assert found["anomalies"] == []


def test_a_spell_ends_when_the_series_is_as_usual_again() -> None:
    state, tick = taught(3, x=100)
    first, _ = told(state, tick, x=900)
    then, _ = told(state, tick + 1, x=101)
    again, found = told(state, tick + 2, x=900)

    assert [len(each["anomalies"]) for each in (first, then, again)] == [1, 0, 1]
    # One spell, as it was not calm for long: told, but not found anew.
    assert again["anomalies"][0]["since_s"] == first["anomalies"][0]["since_s"]
    assert [each for each in found if each["kind"] == "anomaly"] == []
    for n in range(3, 12):
        told(state, tick + n, x=101)
    assert state.odd == {}


def test_a_restart_is_named_beside_what_is_odd_since() -> None:
    state, tick = taught(3, bot__a__rss_bytes=100 << 20)
    made = Window(("bot.a.rss_bytes",), np.array([tick * STEP_S]), np.array([[900.0 * 2**20]]))
    noted = [Annotation(tick * STEP_S - 20, "a", "deployed")]
    found, _ = report.build(
        made, host="h", tick=tick, interval_s=STEP_S, state=state, annotations=noted
    )

    assert found["anomalies"][0]["words"].endswith(", after deployed")


def test_a_leak_is_a_trend_and_the_growth_of_anything_else_is_not() -> None:
    grows = np.arange(TICKS) * 1e6 + 1e8
    found = built(bot__a__rss_bytes=grows, bot__a__updates=grows, host__memory__used_ratio=0.1)

    assert isinstance(found["trends"], list)
    (leak,) = found["trends"]
    assert leak["series"] == "bot.a.rss_bytes"
    assert leak["slope_per_h"] > 0
    assert leak["confidence"] > 0.99


def test_a_slope_too_small_to_matter_is_not_told() -> None:
    assert built(bot__a__rss_bytes=1e9 + np.arange(TICKS) * 100)["trends"] == []


def test_a_report_is_json_whatever_was_measured() -> None:
    wild = RANDOM.choice([np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 0.0], TICKS)
    found = built(
        bot__a__up=wild, bot__a__rss_bytes=wild, host__cpu__used_ratio=ended(0.1, np.inf),
        bot__a__loop_lag_s=ended(np.nan, np.inf), host__disk__used_ratio=wild,
    )  # fmt: skip

    json.dumps(found, allow_nan=False)


def test_a_single_tick_is_enough_for_a_report() -> None:
    found, _ = report.build(
        Window(("bot.a.up",), np.array([5.0]), np.array([[0.0]])), host="h", tick=0
    )

    assert found["verdict"] == "1 of 1 bots down: a."


def over(state: HostState, start: int, columns: dict[str, object]) -> tuple[dict[str, Any], Any]:
    """Report on a minute of ticks that begins at a tick."""
    made = window(columns)
    moved = Window(made.names, made.times_s + 10.0 * start, made.values)
    return report.build(moved, host="h", tick=start + TICKS - 1, state=state)


def test_what_began_is_found_once_and_lasts_in_the_report() -> None:
    state, tick = taught(3, x=100)
    first, found = told(state, tick, x=900)
    again, nothing = told(state, tick, x=900)

    assert [each["kind"] for each in found if each["kind"] != "verdict"] == ["anomaly"]
    assert found[0]["at_s"] == first["anomalies"][0]["since_s"] == tick * STEP_S
    assert found[0]["words"].startswith("x is 900, expected ")
    assert nothing == []
    assert again["anomalies"] == first["anomalies"]


def test_a_verdict_that_gets_better_is_news_only_when_it_lasts() -> None:
    state, at_s = HostState(), 0.0
    news = []
    for verdict in ["ok", "warning", "ok", "warning", "ok", "ok", "ok", "ok"]:
        since_s, is_news = state.settle(verdict, at_s, patience_s=30.0)
        news.append((verdict, since_s, is_news))
        at_s += 10

    assert [each for each in news if each[2]] == [
        ("ok", 0.0, True), ("warning", 10.0, True), ("ok", 40.0, True),
    ]  # fmt: skip


def test_a_series_off_its_normal_is_said_in_words_and_numbers() -> None:
    state = HostState()
    usual = 150e6 + 1e6 * (np.arange(TICKS) * 7 % 5 - 2)
    over(state, 0, {"bot.canary.rss_bytes": usual})
    found, _ = over(state, TICKS, {"bot.canary.rss_bytes": [*usual[:-1], 212e6]})

    (off,) = found["off_normal"]
    assert off["words"].startswith("canary's rss is 202.2 MiB, 41 % above what it is (14")
    assert off["low"] < 150e6 < off["high"] < 160e6
    assert off["score"] > 5


def test_one_bot_has_its_own_report() -> None:
    state, tick = taught(3, bot__a__x=1, bot__b__x=1)
    whole, _ = told(state, tick, bot__a__x=99, bot__b__x=99)
    mine = report.of_bot(whole, "a")

    assert len(whole["anomalies"]) == 2
    assert [each["series"] for each in mine["anomalies"]] == ["bot.a.x"]
    assert mine["bot"] == "a"


def test_the_outlook_is_part_of_the_report() -> None:
    known = Limit("host.disk.used_ratio", "disk", 0.9, 1.0, 0.9, 3600.0, 1800.0, None)
    made, _ = report.build(
        window({"host.disk.used_ratio": 0.9}), host="h", tick=60, outlook=Outlook(5.0, [known])
    )

    assert made["outlook_at_s"] == 5.0
    assert made["limits"][0]["eta_s"] == 3600.0
