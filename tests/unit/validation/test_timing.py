from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.validation import timing

numbers = st.floats(allow_nan=False, allow_infinity=False)


def test_every_operation_is_run_and_timed() -> None:
    done: list[int] = []
    took = timing.repeat(lambda: done.append(1), 7, budget_s=60)
    assert 7 == len(done) == len(took)
    assert min(took) >= 0


def test_a_spent_budget_ends_the_measurement_but_not_before_the_first_operation() -> None:
    done: list[int] = []
    assert 1 == len(timing.repeat(lambda: done.append(1), 1000, budget_s=0.0)) == len(done)


def test_what_an_operation_raises_is_not_swallowed() -> None:
    def broken() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        timing.repeat(broken, 3, budget_s=60)


@given(st.lists(numbers, min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_values_and_enough_of_them_do_not_exceed_it(
    values: list[float], share: float
) -> None:
    found = timing.quantile(values, share)
    assert found in values
    assert found is not None
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_no_values_have_no_quantile() -> None:
    assert timing.quantile([], 0.5) is None
