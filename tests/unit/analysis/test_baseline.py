from __future__ import annotations

import numpy as np
import pytest

from outrider.analysis import baseline
from outrider.samples import Window

RANDOM = np.random.default_rng(7)


def window(**columns: object) -> Window:
    values = np.array(list(columns.values()), dtype=np.float64).T
    return Window(tuple(columns), np.arange(0.0, 10.0 * len(values), 10.0), values)


def test_the_center_is_the_median_and_the_spread_that_of_a_normal_distribution() -> None:
    center, spread = baseline.learn(RANDOM.normal(100, 20, (5000, 1)))

    assert center[0] == pytest.approx(100, abs=1)
    assert spread[0] == pytest.approx(20, rel=0.05)


def test_half_of_the_history_may_be_wrong() -> None:
    values = np.concatenate([RANDOM.normal(100, 20, 600), np.full(400, 1e9)])[:, np.newaxis]
    center, spread = baseline.learn(values)

    assert 100 < center[0] < 150
    assert spread[0] < 60


def test_what_is_missing_or_infinite_does_not_count() -> None:
    center, spread = baseline.learn(np.array([[1.0], [np.nan], [2.0], [np.inf], [3.0], [-np.inf]]))

    assert center.tolist() == [2.0]
    assert spread.round(4).tolist() == [1.4826]


def test_a_constant_is_given_a_twentieth_of_itself() -> None:
    center, spread = baseline.learn(np.full((30, 2), [40.0, 0.0]))

    assert center.tolist() == [40.0, 0.0]
    assert spread.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (5, 0)])
def test_nothing_is_learned_from_nothing(shape: tuple[int, int]) -> None:
    center, spread = baseline.learn(np.empty(shape))

    assert center.shape == spread.shape == (shape[1],)
    assert np.isnan(center).all()
    assert np.isnan(spread).all()


def test_a_column_without_a_value_is_nan_and_the_others_are_not() -> None:
    center, _ = baseline.learn(np.array([[np.nan, 1.0], [np.nan, 3.0]]))

    assert np.isnan(center[0])
    assert center[1] == 2.0


def test_what_is_seldom_used_has_a_spread() -> None:
    _, spread = baseline.learn(np.array([[0.0], [0.0], [0.0], [1.0]] * 10))

    assert spread[0] == pytest.approx(1.2533 / 4)


def test_learning_does_not_change_what_is_learned_from() -> None:
    values = np.array([[np.nan, 1.0], [np.nan, np.inf]])
    before = values.copy()
    baseline.learn(values)

    assert np.array_equal(before, values, equal_nan=True)


def test_a_counter_is_judged_by_its_increase() -> None:
    values, counters = baseline.steps(
        window(counter=[1, 2, 4, 4], gauge=[1, 3, 2, 2], still=[5, 5, 5, 5], falls=[4, 3, 2, 1])
    )

    assert counters.tolist() == [True, False, False, False]
    assert values.T.tolist() == [[1, 2, 0], [3, 2, 2], [5, 5, 5], [3, 2, 1]]


def test_what_grew_once_is_no_counter() -> None:
    _, counters = baseline.steps(window(rss=[5, 5, 5, 6], seldom=[1, 2, 2, 3], often=[1, 1, 2, 3]))

    assert counters.tolist() == [False, True, True]


def test_a_gap_does_not_make_a_counter_a_gauge() -> None:
    values, counters = baseline.steps(window(counter=[1, np.nan, 4, 5, np.inf, np.inf]))

    assert counters.tolist() == [True]
    assert np.isfinite(values[:, 0]).tolist() == [False, False, True, False, False]
