from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.analysis import trend

TIMES = np.arange(0.0, 600.0, 10.0)
RANDOM = np.random.default_rng(7)


def noise(count: int = 60) -> np.ndarray:
    return RANDOM.normal(0, 1, count)


def test_a_line_has_its_slope() -> None:
    found = trend.of(TIMES, 5 - TIMES * 0.5)

    assert found.slope_per_h == pytest.approx(-1800)
    assert found.confidence > 0.999


def test_a_leak_is_seen_through_noise() -> None:
    found = trend.of(TIMES, TIMES * 0.02 + noise())

    assert found.slope_per_h == pytest.approx(72, rel=0.2)
    assert found.confidence > 0.99


def test_wild_values_move_neither_slope_nor_confidence_far() -> None:
    values = TIMES * 1.0
    values[[7, 30]] = 1e6
    found = trend.of(TIMES, values)

    assert found.slope_per_h == pytest.approx(3600, rel=0.05)
    assert found.confidence > 0.9


def test_noise_is_seldom_taken_for_a_trend() -> None:
    found = trend.of_columns(TIMES, RANDOM.normal(0, 1, (60, 1000)))

    assert sum(each.confidence >= 0.99 for each in found) <= 25


def test_a_constant_has_no_trend() -> None:
    assert trend.of(TIMES, np.full(60, 3.0)) == trend.FLAT


@pytest.mark.parametrize("count", range(trend.LEAST_SAMPLES))
def test_too_few_values_have_no_trend(count: int) -> None:
    assert trend.of(TIMES[:count], TIMES[:count]) == trend.FLAT


def test_columns_are_told_apart() -> None:
    values = np.array([TIMES, -TIMES, np.full(60, 1.0), np.full(60, np.nan)]).T
    up, down, flat, empty = trend.of_columns(TIMES, values)

    assert [up.slope_per_h, down.slope_per_h] == pytest.approx([3600, -3600])
    assert trend.FLAT == flat == empty


def test_a_missed_tick_does_not_hide_a_leak() -> None:
    values = np.array([TIMES, TIMES]).T
    values[17, 0] = np.nan
    gap, whole = trend.of_columns(TIMES, values)

    assert gap.slope_per_h == pytest.approx(whole.slope_per_h)
    assert gap.confidence > 0.99


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (60, 0)])
def test_nothing_has_no_trend(shape: tuple[int, int]) -> None:
    assert [trend.FLAT] * shape[1] == trend.of_columns(np.zeros(shape[0]), np.zeros(shape))


@given(st.lists(st.floats(width=32), min_size=12, max_size=60))
def test_any_numbers_have_a_trend_without_a_complaint(values: list[float]) -> None:
    found = trend.of_columns(TIMES[: len(values)], np.array(values)[:, np.newaxis])

    assert np.isfinite(found[0].slope_per_h)
    assert 0 <= found[0].confidence <= 1
