from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from outrider.slo import evidence


def summed(bad: int, total: int, ratio: float) -> float:
    exact = Fraction(ratio)
    return float(
        sum(
            math.comb(total, k) * exact**k * (1 - exact) ** (total - k)
            for k in range(bad, total + 1)
        )
    )


@hypothesis_settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.9))
def test_a_tail_is_the_sum_of_its_chances(bad: int, total: int, ratio: float) -> None:
    assert summed(bad, total, ratio) == pytest.approx(
        evidence.tail(bad, total, ratio), rel=1e-9, abs=1e-13
    )


@pytest.mark.parametrize(
    ("bad", "total", "doubt", "expected"),
    [(1, 1, 0.05, 0.05), (5, 10, 0.025, 0.18709), (0, 10, 0.05, 0.0), (10, 10, 0.025, 0.69150)],
)
def test_lower_bounds_are_those_of_clopper_and_pearson(
    bad: int, total: int, doubt: float, expected: float
) -> None:
    assert expected == pytest.approx(evidence.lower_bound(bad, total, doubt), abs=1e-5)


@hypothesis_settings(deadline=None)
@given(st.integers(1, 200), st.data(), st.floats(0.001, 0.4))
def test_bounds_enclose_the_ratio(total: int, data: st.DataObject, doubt: float) -> None:
    bad = data.draw(st.integers(0, total))

    low = evidence.lower_bound(bad, total, doubt)
    high = evidence.upper_bound(bad, total, doubt)

    assert 0 <= low <= bad / total <= high <= 1


@hypothesis_settings(deadline=None)
@given(st.integers(2, 50), st.data(), st.floats(0.001, 0.5), st.floats(0.0001, 0.4))
def test_exceeding_is_a_lower_bound_without_the_failure_that_made_us_look(
    total: int, data: st.DataObject, ratio: float, doubt: float
) -> None:
    bad = data.draw(st.integers(2, total))
    bound = evidence.lower_bound(bad - 1, total - 1, doubt)

    if abs(bound - ratio) > 1e-9:
        assert evidence.exceeds(bad, total, ratio, doubt) == (bound > ratio)


def test_one_failure_proves_nothing_however_rare_failures_are() -> None:
    assert not evidence.exceeds(1, 1, 1e-9, 0.5)


def test_millions_of_events_are_no_trouble() -> None:
    assert evidence.tail(10_000, 10_000_000, 0.001) == pytest.approx(0.5, abs=0.01)
    assert evidence.tail(20_000, 10_000_000, 0.001) == 0
