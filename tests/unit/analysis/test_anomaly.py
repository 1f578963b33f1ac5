from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.analysis import anomaly
from outrider.samples import Window

RANDOM = np.random.default_rng(7)


def window(**columns: object) -> Window:
    values = np.array(list(columns.values()), dtype=np.float64).T
    names = tuple(name.replace("__", ".") for name in columns)
    return Window(names, np.arange(1000.0, 1000.0 + 10 * len(values), 10), values)


def noise(count: int = 60, center: float = 100.0, spread: float = 2.0) -> np.ndarray:
    return RANDOM.normal(center, spread, count)


def with_end(*end: float, **options: float) -> np.ndarray:
    return np.append(noise(**options), end)  # type: ignore[arg-type]


def test_a_jump_is_found_with_its_reach_and_its_start() -> None:
    (found,) = anomaly.find(window(calm=with_end(100, 100, 100), x=with_end(300, 310, 305)))

    assert found.series == "x"
    assert found.value == 305
    assert found.score > anomaly.ALARM_SCORE
    assert found.low < 100 < found.high < 305
    assert found.since_s == 1000 + 60 * 10


def test_a_fall_is_as_odd_as_a_jump() -> None:
    assert [found.series for found in anomaly.find(window(x=with_end(0)))] == ["x"]


def test_noise_is_not_odd() -> None:
    values = RANDOM.normal(0, 1, (61, 400)) + 50
    found = anomaly.find(Window(tuple(f"s{n}" for n in range(400)), np.arange(61.0), values))

    assert found == []


def test_the_oddest_come_first_and_only_so_many() -> None:
    odd = {f"s{n}": with_end(1000.0 * n) for n in range(1, 40)}
    found = anomaly.find(window(**odd), most=5)

    assert [each.series for each in found] == ["s39", "s38", "s37", "s36", "s35"]


def test_what_is_never_judged_takes_no_place_from_what_is() -> None:
    restarted = {f"bot__b{n}__uptime_s": with_end(0, center=1e6, spread=1) for n in range(30)}
    found = anomaly.find(window(**restarted, x=with_end(300)))

    assert [each.series for each in found] == ["x"]


@pytest.mark.parametrize("ticks", range(anomaly.LEAST_SAMPLES + 2))
def test_too_short_a_history_tells_nothing(ticks: int) -> None:
    assert anomaly.find(window(x=[1.0] * max(0, ticks - 1) + [1e9] * (ticks > 0))) == []


def test_a_series_that_began_lately_is_not_judged() -> None:
    late = np.concatenate([np.full(50, np.nan), noise(10), [1e6]])

    assert anomaly.find(window(x=late)) == []


@pytest.mark.parametrize("last", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_not_odd(last: float) -> None:
    assert anomaly.find(window(x=with_end(last))) == []


def test_a_constant_may_stray_a_little() -> None:
    assert anomaly.find(window(x=[100.0] * 60 + [110.0])) == []
    assert len(anomaly.find(window(x=[100.0] * 60 + [1000.0]))) == 1
    assert len(anomaly.find(window(x=[0.0] * 60 + [1.0]))) == 1


@pytest.mark.parametrize("grown", [[1], [1, 1], [1, 0, 1]])
def test_memory_that_stood_still_may_grow_by_a_page(grown: list[int]) -> None:
    pages = 25_000 + np.cumsum([0] * 58 + grown)

    assert anomaly.find(window(rss_bytes=pages * 4096)) == []


def test_what_is_seldom_used_may_be_used() -> None:
    queue = [0, 0, 0, 1] * 15

    assert anomaly.find(window(queue=[*queue, 1])) == []
    assert len(anomaly.find(window(queue=[*queue, 50]))) == 1
    assert len(anomaly.find(window(crashes=[0] * 60 + [1]))) == 1


def test_a_share_that_moves_within_a_sixth_is_no_news() -> None:
    assert anomaly.find(window(x_ratio=[0.01] * 60 + [0.15])) == []
    assert len(anomaly.find(window(x_ratio=[0.01] * 60 + [0.5]))) == 1


def test_a_counter_is_odd_when_it_grows_oddly() -> None:
    steady = np.cumsum(np.full(60, 100.0))

    assert anomaly.find(window(x=[*steady, steady[-1] + 100])) == []
    (found,) = anomaly.find(window(x=[*steady, steady[-1] + 5000]))
    assert found.value == 5000


def test_what_is_odd_all_the_time_is_odd_since_the_first_step() -> None:
    values = np.array([[0.0], [9.0], [9.0]])

    assert anomaly._since(Window(("x",), np.array([1.0, 2.0, 3.0]), values), np.full(2, 99.0)) == 2


@given(values=st.lists(st.lists(st.floats(), min_size=3, max_size=3), min_size=20, max_size=40))
def test_any_numbers_are_judged_without_a_complaint(values: list[list[float]]) -> None:
    times_s = np.arange(float(len(values)))
    found = anomaly.find(Window(("a", "b", "c_ratio"), times_s, np.array(values)))

    assert all(np.isfinite([each.value, each.score, each.since_s]).all() for each in found)
