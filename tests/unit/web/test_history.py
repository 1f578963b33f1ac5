"""Reducing a series to a screen loses no spike, fills no gap and counts no reset twice."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.store.memory import MemoryStore
from outrider.web import history

NAN = math.nan


def stored(series: str, readings: dict[int, float]) -> MemoryStore:
    store = MemoryStore(interval_s=10.0)
    for tick, value in readings.items():
        store.append("alpha", tick, {series: value})
    return store


def test_each_tick_is_a_step_while_there_is_room() -> None:
    store = stored("host.load.1m", {100: 1.0, 101: 2.0, 102: 3.0})
    band = history.query(store, "alpha", "host.load.1m", 1000.0, 1030.0, 100)
    assert (band.step_s, band.tier) == (10.0, "raw")
    assert band.times_s.tolist() == [1000.0, 1010.0, 1020.0]
    assert band.mean.tolist() == band.low.tolist() == band.high.tolist() == [1.0, 2.0, 3.0]


def test_more_ticks_than_points_become_bands() -> None:
    store = stored("host.load.1m", {100: 1.0, 101: 9.0, 102: 2.0, 103: 4.0})
    band = history.query(store, "alpha", "host.load.1m", 1000.0, 1040.0, 2)
    assert band.step_s == 20.0
    assert band.low.tolist() == [1.0, 2.0]
    assert band.high.tolist() == [9.0, 4.0]
    assert band.mean.tolist() == [5.0, 3.0]
    assert band.last.tolist() == [9.0, 4.0]


def test_a_gap_stays_a_gap() -> None:
    store = stored("host.load.1m", {100: 1.0, 103: 4.0})
    band = history.query(store, "alpha", "host.load.1m", 1000.0, 1040.0, 4)
    np.testing.assert_array_equal(band.mean, [1.0, NAN, NAN, 4.0])
    np.testing.assert_array_equal(band.high, [1.0, NAN, NAN, 4.0])


def test_a_counter_is_shown_as_its_rate_and_begins_anew_after_a_restart() -> None:
    store = stored("bot.c.jobs_total", {99: 10.0, 100: 30.0, 101: 50.0, 102: 5.0})
    band = history.query(store, "alpha", "bot.c.jobs_total", 1000.0, 1030.0, 3)
    assert band.mean.tolist() == [2.0, 2.0, 0.5]


def test_a_counter_that_was_away_for_long_has_no_rate_over_its_absence() -> None:
    store = stored("bot.c.jobs_total", {100: 10.0, 101: 20.0, 160: 900.0, 161: 910.0})
    band = history.query(store, "alpha", "bot.c.jobs_total", 1000.0, 1620.0, 62)
    assert band.mean[np.isfinite(band.mean)].tolist() == [1.0, 1.0]


def test_what_was_measured_as_no_number_is_a_gap() -> None:
    store = stored("bot.c.t.p95_s", {100: 1.0, 101: NAN, 102: math.inf})
    band = history.query(store, "alpha", "bot.c.t.p95_s", 1000.0, 1030.0, 3)
    np.testing.assert_array_equal(band.high, [1.0, NAN, NAN])


def test_an_unknown_series_is_an_empty_band() -> None:
    band = history.query(MemoryStore(), "alpha", "nothing", 0.0, 100.0, 10)
    assert np.isnan(band.mean).all()


@settings(max_examples=100, deadline=None)
@given(
    readings=st.dictionaries(st.integers(0, 300), st.floats(-1e9, 1e9), min_size=1, max_size=60),
    points=st.integers(2, 400),
    start=st.integers(0, 500),
)
def test_no_spike_vanishes(readings: dict[int, float], points: int, start: int) -> None:
    store = stored("host.load.1m", readings)
    band = history.query(store, "alpha", "host.load.1m", start, 3010.0, points)
    inside = [value for tick, value in readings.items() if tick * 10 >= start]
    assert len(band.times_s) <= points + 1
    if inside:
        assert max(inside) == np.nanmax(band.high)
        assert min(inside) == np.nanmin(band.low)
    else:
        assert np.isnan(band.mean).all()
