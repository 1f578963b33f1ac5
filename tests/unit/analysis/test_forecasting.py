from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider import analysis
from outrider.analysis.forecasting import MOST_HORIZON, filled, forecast
from outrider.errors import BadArgument


def week(days: int, *, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Hours of a load with a day and a quiet weekend."""
    hours = np.arange(24 * days)
    level = 100 + 40 * np.sin(2 * np.pi * hours / 24) - 30 * (hours // 24 % 7 >= 5)
    values: np.ndarray = level + noise * np.random.default_rng(seed).standard_normal(len(hours))
    return values


def test_the_public_name_is_this_function() -> None:
    assert analysis.forecast is forecast


def test_a_season_without_noise_is_continued_exactly() -> None:
    whole = week(35)

    found = forecast(whole[:-48], horizon=48)

    assert whole[-48:] == pytest.approx(found.mean, abs=1.0)


def test_day_and_week_are_both_continued_under_noise() -> None:
    whole = week(35, noise=3.0)

    found = forecast(whole[:-48], horizon=48)

    yesterday = np.tile(whole[-72:-48], 2)
    off, naive = np.abs(found.mean - whole[-48:]).mean(), np.abs(yesterday - whole[-48:]).mean()
    assert off < 4.0
    assert off < naive


def test_intervals_hold_what_they_promise() -> None:
    held = []
    for seed in range(20):
        whole = week(30, noise=5.0, seed=seed)
        found = forecast(whole[:-24], horizon=24)
        held.append((found.lower <= whole[-24:]) & (whole[-24:] <= found.upper))

    assert 0.90 <= np.mean(held) <= 1.0


def test_more_confidence_is_a_wider_interval() -> None:
    values = week(30, noise=5.0)

    wide, narrow = forecast(values, 24, confidence=0.99), forecast(values, 24, confidence=0.5)

    assert (wide.upper - wide.lower > narrow.upper - narrow.lower).all()


def test_a_constant_is_itself_and_nothing_else() -> None:
    found = forecast([7.0] * 500)

    assert np.unique([found.mean, found.lower, found.upper]).tolist() == [7.0]


def test_a_count_is_never_forecast_to_be_negative() -> None:
    values = np.maximum(0.0, week(30, noise=60.0) - 100)

    found = forecast(values, horizon=48)

    assert found.lower.min() >= 0


def test_the_unit_of_a_series_does_not_matter() -> None:
    values = week(30, noise=5.0)

    assert forecast(values).mean * 1e9 == pytest.approx(forecast(values * 1e9).mean)


def test_gaps_take_the_value_one_period_before() -> None:
    values = [1.0, 2.0, 3.0, 1.0, np.nan, np.inf]

    assert filled(values, 3).tolist() == [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]


def test_gaps_without_a_period_before_are_bridged() -> None:
    assert filled([np.nan, 1.0, np.nan, 3.0], 100).tolist() == [1.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("period", [1, 2, 4, 7, 24, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 100])
def test_any_history_has_a_forecast(count: int, period: int) -> None:
    values = np.random.default_rng(1).random(count)

    found = forecast(values, horizon=5, period=period)

    assert (5,) == found.mean.shape == found.lower.shape == found.upper.shape
    assert np.isfinite([found.mean, found.lower, found.upper]).all()


@given(
    st.lists(st.floats(width=64), min_size=1, max_size=300).filter(
        lambda values: bool(np.isfinite(values).any())
    ),
    st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_hostile_values_are_survived(values: list[float], period: int) -> None:
    found = forecast(values, horizon=4, period=period)

    assert not np.isnan([found.mean, found.lower, found.upper]).any()
    assert (found.lower <= found.mean).all()
    assert (found.mean <= found.upper).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"horizon": 0}, "horizon = 0"),
        ({"horizon": MOST_HORIZON + 1}, "must be from 1 to"),
        ({"period": 0}, "period = 0"),
        ({"confidence": 1.0}, "confidence = 1.0"),
        ({"values": []}, "at least one finite"),
        ({"values": [np.nan]}, "at least one finite"),
        ({"values": [[1.0]]}, "sequence of numbers"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        forecast(**({"values": [1.0, 2.0]} | arguments))  # type: ignore[arg-type]
