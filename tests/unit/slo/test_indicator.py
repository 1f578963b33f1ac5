from __future__ import annotations

import math
from typing import Any

import pytest

from outrider import sketch
from outrider.errors import BadArgument
from outrider.slo import indicator
from outrider.slo.look import Look


def look(values: dict[str, float], kept: dict[str, float] | None = None, **more: Any) -> Look:
    return Look(values, 1000.0, 10.0, {} if kept is None else kept, **more)


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ({"bot.a.up": 1.0}, (1, 1)),
        ({"bot.a.up": 0.0}, (0, 1)),
        ({"bot.a.up": math.nan}, (0, 0)),
        ({}, (0, 0)),
        ({"bot.a.up": 1.0, "bot.a.heartbeat_age_s": 31.0}, (0, 1)),
        ({"bot.a.up": 1.0, "bot.a.loop_lag_s": 1.5}, (0, 1)),
        ({"bot.a.up": 1.0, "bot.a.loop_lag_s": math.nan}, (1, 1)),
    ],
)
def test_a_bot_is_alive_when_it_is_there_speaks_and_is_not_blocked(
    values: dict[str, float], seen: tuple[int, int]
) -> None:
    assert seen == indicator.parse("alive").seen("a", look(values))


def test_work_is_what_did_not_raise_since_the_row_before() -> None:
    work, kept = indicator.parse("work"), {}  # type: ignore[var-annotated]
    first = {"bot.a.handle_update.count": 100.0, "bot.a.handle_update.errors_total": 7.0}
    then = {"bot.a.handle_update.count": 110.0, "bot.a.handle_update.errors_total": 9.0}
    anew = {"bot.a.handle_update.count": 3.0, "bot.a.handle_update.errors_total": 0.0}

    assert work.seen("a", look(first, kept)) == (0, 0)
    assert work.seen("a", look(then, kept)) == (8, 10)
    assert work.seen("a", look(anew, kept)) == (3, 3)


def test_latency_counts_what_was_no_slower_than_the_limit() -> None:
    took = sketch.of([0.1, 0.2, 0.4, 0.6, 3.0])
    timed = indicator.parse("timed:handle_update<0.5s")
    asked: list[str] = []

    def read(series: str) -> dict[int, int]:
        asked.append(series)
        return took

    assert timed.seen("a", look({}, read=read)) == (3, 5)
    assert asked == ["bot.a.handle_update"]


def test_a_counter_is_fresh_while_it_grows() -> None:
    fresh, kept = indicator.parse("fresh:polls_total<25s"), {}  # type: ignore[var-annotated]
    seen = [
        fresh.seen("a", Look({"bot.a.polls_total": count}, at_s, 10.0, kept))
        for at_s, count in (
            (0.0, 5.0),
            (10.0, 6.0),
            (20.0, 6.0),
            (30.0, 6.0),
            (40.0, 6.0),
            (50.0, 7.0),
        )
    ]

    assert seen == [(1, 1), (1, 1), (1, 1), (1, 1), (0, 1), (1, 1)]


def test_an_age_is_fresh_below_its_limit() -> None:
    fresh = indicator.parse("fresh:trade_age_s<1m")

    assert fresh.seen("a", look({"bot.a.trade_age_s": 59.0})) == (1, 1)
    assert fresh.seen("a", look({"bot.a.trade_age_s": 61.0})) == (0, 1)
    assert fresh.seen("a", look({})) == (0, 0)


def test_a_crash_spends_the_restart_budget() -> None:
    restarts = indicator.parse("restarts")

    assert restarts.seen("a", look({"bot.a.crashes_total": 2.0}, {"bot.a.crashes_total": 1.0})) == (
        0,
        1,
    )
    assert restarts.seen("a", look({"bot.a.crashes_total": 2.0}, {"bot.a.crashes_total": 2.0})) == (
        1,
        1,
    )


def test_failures_may_be_any_counter_of_any_other() -> None:
    lost = indicator.parse("ratio:orders.lost_total/orders.sent_total")
    kept = {"bot.a.orders.lost_total": 1.0, "bot.a.orders.sent_total": 10.0}

    assert lost.seen(
        "a", look({"bot.a.orders.lost_total": 3.0, "bot.a.orders.sent_total": 15.0}, kept)
    ) == (3, 5)


def test_ticks_that_are_missing_or_late_are_bad() -> None:
    ticks = indicator.parse("ticks")

    assert ticks.seen("h", look({"collector.duration_s": 0.2})) == (1, 1)
    assert ticks.seen("h", look({"collector.duration_s": 11.0})) == (0, 1)
    assert ticks.seen("h", look({}, ticks=4)) == (1, 4)
    assert ticks.seen("h", look({}, ticks=360)) == (1, 1)  # switched off for an hour


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uptime", "expected one of alive, work"),
        ("timed:handle_update", "no such indicator"),
        ("timed:handle_update<fast", "is not a duration"),
        ("timed:handle_update<0s", "nothing is that fast"),
        ("ratio:a_total", "no such indicator"),
    ],
)
def test_what_is_no_indicator_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(BadArgument, match=said) as error:
        indicator.parse(text)
    assert repr(text) in str(error.value)
