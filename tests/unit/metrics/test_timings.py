from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider import sketch
from outrider.metrics import timings
from outrider.metrics.frame import Frame
from outrider.metrics.timings import Timings

START_S = 1000.0


def said(*durations: float, longest_s: float = 0.0, **changes: Any) -> Frame:
    """Return a frame of a bot that did all these since its start."""
    fields: dict[str, Any] = {
        "timings": {"handle": (len(durations), sum(durations), longest_s)},
        "buckets": {"handle": sketch.of(durations)} if durations else {},
        "since_s": START_S,
    }
    return Frame("a", 7, START_S, **(fields | changes))


def begun() -> Timings:
    """Return what was there before the bot began."""
    before = Timings()
    before.take(Frame("other", 1, START_S - 5), START_S - 5)
    return before


def test_quantiles_are_of_what_came_since_the_last_tick() -> None:
    seen = begun()
    seen.take(said(9.0), START_S + 1)
    values = seen.take(said(9.0, *[0.1] * 50, *[0.2] * 45, *[0.4] * 5), START_S + 11)

    assert values["bot.a.handle.p50_s"] == pytest.approx(0.1, rel=0.01)
    assert values["bot.a.handle.p95_s"] == pytest.approx(0.2, rel=0.01)
    assert values["bot.a.handle.p99_s"] == pytest.approx(0.4, rel=0.01)
    assert values["bot.a.handle.max_s"] == pytest.approx(0.4, rel=0.01)


def test_the_longest_of_a_tick_is_found_although_its_frame_was_not_looked_at() -> None:
    seen = begun()
    seen.take(said(0.1), START_S + 1)

    assert seen.take(said(0.1, 3.0, 0.2, longest_s=0.2), START_S + 11)[
        "bot.a.handle.max_s"
    ] == pytest.approx(3.0, rel=0.01)
    assert (
        seen.take(said(0.1, 3.0, 0.2, 2.345, longest_s=2.345), START_S + 21)["bot.a.handle.max_s"]
        == 2.345
    )


def test_a_tick_without_calls_has_no_quantiles_and_keeps_its_series() -> None:
    seen = begun()
    first = seen.take(said(0.1), START_S + 1)
    values = seen.take(said(0.1, longest_s=0.1), START_S + 11)

    assert values.keys() == first.keys()
    assert all(math.isnan(values[f"bot.a.handle.{q}"]) for q in timings.QUANTILES)
    assert values["bot.a.handle.max_s"] == 0.0


def test_a_timing_that_was_never_called_has_the_same_series() -> None:
    values = begun().take(said(), START_S + 1)

    assert math.isnan(values["bot.a.handle.p99_s"])
    assert values["bot.a.handle.max_s"] == 0.0


def test_a_bot_that_began_since_the_last_tick_is_told_in_full() -> None:
    seen = begun()
    values = seen.take(said(0.5, 0.5), START_S + 1)

    assert values["bot.a.handle.p50_s"] == pytest.approx(0.5, rel=0.01)
    assert seen.skipped == 0
    assert seen.sketches() == {"bot.a.handle": sketch.of([0.5, 0.5])}


def test_a_new_collector_skips_what_it_cannot_tell_and_counts_it() -> None:
    seen = Timings()
    values = seen.take(said(9.0, longest_s=0.3), START_S + 1)

    assert math.isnan(values["bot.a.handle.p50_s"])
    assert "bot.a.handle.max_s" not in values
    assert (seen.skipped, seen.sketches()) == (1, {})

    values = seen.take(said(9.0, 0.1), START_S + 11)
    assert values["bot.a.handle.p50_s"] == pytest.approx(0.1, rel=0.01)
    assert (seen.skipped, seen.sketches()) == (1, {"bot.a.handle": sketch.of([0.1])})


def test_a_timing_that_is_new_to_a_known_bot_is_told_in_full() -> None:
    seen = Timings()
    seen.take(said(timings={}, buckets={}), START_S + 1)
    seen.take(said(0.5), START_S + 11)

    assert (seen.skipped, seen.sketches()) == (0, {"bot.a.handle": sketch.of([0.5])})


@pytest.mark.parametrize("changes", [{"pid": 8}, {"pid": 7}])
def test_a_bot_that_was_restarted_or_executed_anew_begins_anew(changes: dict[str, int]) -> None:
    seen = begun()
    seen.take(said(*[0.1] * 9), START_S + 1)
    seen.sketches()
    again = said(*[0.1] * 10, since_s=START_S + 5)
    again.pid = changes["pid"]
    seen.take(again, START_S + 11)

    assert seen.sketches() == {"bot.a.handle": sketch.of([0.1] * 10)}
    assert seen.skipped == 0


def test_a_histogram_that_did_not_fit_into_its_frame_is_made_up_for_later() -> None:
    seen = begun()
    seen.take(said(0.1), START_S + 1)
    without = seen.take(said(0.1, 0.2, longest_s=0.2, buckets={}), START_S + 11)
    assert math.isnan(without["bot.a.handle.p50_s"])
    assert "bot.a.handle.max_s" not in without

    seen.take(said(0.1, 0.2, 0.3), START_S + 21)
    assert seen.sketches() == {"bot.a.handle": sketch.of([0.1, 0.2, 0.3])}
    assert seen.skipped == 0


def test_a_histogram_that_never_fitted_so_far_is_skipped_once() -> None:
    seen = begun()
    seen.take(said(0.1, buckets={}), START_S + 1)
    seen.take(said(0.1, 0.2), START_S + 11)
    assert (seen.skipped, seen.sketches()) == (1, {})

    seen.take(said(0.1, 0.2, 0.3), START_S + 21)
    assert seen.sketches() == {"bot.a.handle": sketch.of([0.3])}


def test_what_could_not_be_stored_comes_again() -> None:
    seen = begun()
    seen.take(said(0.1), START_S + 1)
    seen.give_back(seen.sketches())
    seen.take(said(0.1, 0.2), START_S + 11)

    assert seen.sketches() == {"bot.a.handle": sketch.of([0.1, 0.2])}
    assert seen.sketches() == {}


@given(st.lists(st.lists(st.floats(1e-6, 1e3), max_size=20), max_size=10))
def test_the_ticks_add_up_to_what_was_done(ticks: list[list[float]]) -> None:
    seen, all_of_them = begun(), list[float]()
    kept: dict[int, int] = {}
    for number, tick in enumerate(ticks):
        all_of_them += tick
        seen.take(said(*all_of_them), START_S + 1 + number)
        kept = sketch.merge(kept, seen.sketches().get("bot.a.handle", {}))

    assert kept == sketch.of(all_of_them)


def test_the_worst_lag_of_a_tick_is_found_although_its_frame_was_not_looked_at() -> None:
    seen = begun()
    chance = random.Random(7)
    idle = [0.0] * 30
    seen.take(said(loop_lag_s=0.0, lag=sketch.of(idle)), START_S + 1)
    late = [*idle, 1.5, *(chance.uniform(0, 0.1) for _ in range(30))]
    second = seen.take(said(loop_lag_s=0.01, lag=sketch.of(late)), START_S + 11)
    third = seen.take(said(loop_lag_s=2.0, lag=sketch.of(late)), START_S + 21)

    assert second["bot.a.loop_lag_s"] == pytest.approx(1.5, rel=0.01)
    assert third["bot.a.loop_lag_s"] == 2.0


def test_a_bot_without_a_loop_has_no_lag() -> None:
    assert "bot.a.loop_lag_s" not in begun().take(said(0.1), START_S + 1)


def test_bots_that_are_gone_are_forgotten() -> None:
    seen = begun()
    seen.take(said(0.1), START_S + 1)
    seen.take(Frame("b", 9, START_S), START_S + 2 + timings.FORGOTTEN_AFTER_S)

    assert seen.sketches() == {}
    assert list(seen._bots) == ["b"]
