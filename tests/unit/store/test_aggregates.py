from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.samples import Window
from outrider.store import aggregates, rows
from outrider.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

WHOLE = st.integers(-(2**40), 2**40).map(float)
SAMPLES = st.one_of(WHOLE, st.sampled_from([math.nan, math.inf, -math.inf, -0.0]))
ROW = st.fixed_dictionaries({}, optional={"a": SAMPLES, "b_total": SAMPLES.map(abs), "c": SAMPLES})


def window(*many: Mapping[str, float]) -> Window:
    store = MemoryStore(interval_s=1.0)
    for tick, row in enumerate(many):
        store.append("h", tick, row)
    return store.window("h", 0, len(many))


def bucketed(*many: Mapping[str, float], before: dict[str, float] | None = None) -> Window:
    """Buckets of two rows each, in order, as a tier would hold them."""
    kept, before = [], dict(before or {})
    for start in range(0, len(many), 2):
        part = window(*many[start : start + 2])
        kept.append(aggregates.of_rows(part, before))
        before |= {
            name.removesuffix("|last"): value
            for name, value in kept[-1].items()
            if name.endswith("|last")
        }
    return window(*kept)


def same(expected: Mapping[str, float], found: Mapping[str, float]) -> None:
    assert dict(expected) == pytest.approx(dict(found), rel=1e-12, nan_ok=True)


def test_a_gauge_keeps_least_greatest_sum_count_and_last() -> None:
    found = aggregates.of_rows(window({"a": 2.0}, {"a": 5.0}, {"a": 3.0}))

    assert found == {"a|min": 2.0, "a|max": 5.0, "a|sum": 10.0, "a|count": 3.0, "a|last": 3.0}


def test_a_counter_keeps_its_increase_also_over_a_restart() -> None:
    found = aggregates.of_rows(
        window({"a_total": 12.0}, {"a_total": 15.0}, {"a_total": 4.0}, {"a_total": 6.0}),
        {"a_total": 10.0},
    )

    assert found == {"a_total|increase": 2 + 3 + 4 + 2, "a_total|count": 4.0, "a_total|last": 6.0}


def test_a_counter_that_nobody_saw_before_has_not_grown_yet() -> None:
    assert aggregates.of_rows(window({"a_total": 900.0}))["a_total|increase"] == 0.0


def test_a_nan_that_was_measured_is_not_counted() -> None:
    nan = math.nan
    found = aggregates.of_rows(
        window({"a": nan, "b": nan, "c_total": 1.0}, {"a": 3.0, "b": nan, "c_total": nan})
    )

    assert found == {
        "a|min": 3.0, "a|max": 3.0, "a|sum": 3.0, "a|count": 1.0, "a|last": 3.0,
        "c_total|increase": 0.0, "c_total|count": 1.0, "c_total|last": 1.0,
    }  # fmt: skip


def test_infinities_count_for_gauges_and_not_for_counters() -> None:
    found = aggregates.of_rows(
        window({"a": math.inf, "b_total": 1.0}, {"a": -math.inf, "b_total": math.inf}, {"a": 1.0})
    )

    assert (found["a|min"], found["a|max"], found["a|count"]) == (-math.inf, math.inf, 3.0)
    assert math.isnan(found["a|sum"])
    assert (found["b_total|increase"], found["b_total|last"]) == (0.0, 1.0)


def test_a_window_without_rows_or_series_is_an_empty_bucket() -> None:
    assert aggregates.of_rows(window()) == {}
    assert aggregates.of_rows(window({})) == {}
    assert aggregates.of_buckets(window()) == {}
    assert aggregates.of_buckets(window({})) == {}


def test_noise_of_floating_point_is_not_kept() -> None:
    found = aggregates.of_rows(
        window({"a": 0.1, "t_total": 100.1}, {"a": 0.2, "t_total": 100.4}, {"t_total": 1234567.9})
    )

    assert found["a|sum"] == 0.3
    assert found["t_total|increase"] == 1234467.8


@pytest.mark.parametrize("number", [1e-30, 5e-324, 1.7e308, 2.0**63, -1e-12, 1 / 3])
def test_numbers_of_any_size_keep_fifteen_digits(number: float) -> None:
    assert aggregates.of_rows(window({"a": number}))["a|sum"] == pytest.approx(number, rel=1e-14)


@given(st.lists(ROW, max_size=12))
def test_rolling_up_rollups_is_rolling_up_raw_rows(many: list[dict[str, float]]) -> None:
    same(aggregates.of_rows(window(*many)), aggregates.of_buckets(bucketed(*many)))


@given(st.lists(st.integers(0, 10**9).map(float), min_size=2, max_size=20))
def test_the_increases_of_all_buckets_add_up_to_the_growth(totals: list[float]) -> None:
    growth = sum(
        now if now < before else now - before for before, now in itertools.pairwise(totals)
    )
    buckets = bucketed(*({"a_total": each} for each in totals))

    assert growth == buckets.column("a_total|increase").sum()


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=10))
def test_least_and_greatest_are_those_of_the_samples(values: list[float]) -> None:
    found = aggregates.of_rows(window(*({"a": value} for value in values)))

    assert (min(values), max(values)) == (found["a|min"], found["a|max"])


def test_columns_and_series_are_each_others_inverse() -> None:
    names = ["a", "b_total", "c.count", "c.sum_s", "d|min"]

    assert names == aggregates.series_of(
        column for name in names for column in aggregates.columns(name)
    )


def test_a_forged_bucket_without_all_columns_does_no_harm() -> None:
    forged = Window(("a|count", "b|max"), np.arange(2.0), np.array([[1.0, 2.0], [1.0, 3.0]]))
    found = aggregates.of_buckets(rows.where(forged, np.array([True, True])))

    assert found["a|count"] == 2.0
