from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.alerts import windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from outrider.alerts.expression import Over

NAN = math.nan


def plain(function: Over, values: list[float]) -> float:  # noqa: PLR0911 - a function, a case
    """Return what a person with a pencil would get from one series at ticks 0, 10, 20, ..."""
    known = [(10.0 * at, value) for at, value in enumerate(values) if not math.isnan(value)]
    numbers = [value for _, value in known]
    growth = sum(b - a if b >= a else b for a, b in itertools.pairwise(numbers))
    ends_here = len(numbers) > 1 and not math.isnan(values[-1])
    if function == "count":
        return float(len(numbers))
    if not numbers:
        return NAN
    match function:
        case "increase":
            return growth if ends_here else NAN
        case "rate":
            return growth / (known[-1][0] - known[0][0]) if ends_here else NAN
        case "delta":
            return numbers[-1] - numbers[0] if ends_here else NAN
        case "changes":
            return float(sum(a != b for a, b in itertools.pairwise(numbers)))
        case "avg" | "min" | "max" | "sum" | "stddev":
            by: dict[str, Any] = {
                "avg": np.mean,
                "min": np.min,
                "max": np.max,
                "sum": np.sum,
                "stddev": np.std,
            }
            return float(by[function](numbers))
        case _:
            return float(np.quantile(numbers, int(function[1:]) / 100))


@pytest.mark.parametrize("function", list(windows._FUNCTIONS))
@settings(deadline=None, max_examples=60)
@given(
    table=st.integers(1, 6).flatmap(
        lambda ticks: st.lists(
            st.lists(
                st.one_of(st.just(NAN), st.integers(0, 50).map(float)),
                min_size=ticks,
                max_size=ticks,
            ),
            min_size=1,
            max_size=4,
        )
    )
)
def test_all_series_at_once_are_as_each_by_itself(function: Over, table: list[list[float]]) -> None:
    values: NDArray[np.float64] = np.array(table, dtype=np.float64).T
    found = windows.apply(function, np.arange(len(values), dtype=np.float64) * 10, values)

    assert [plain(function, row) for row in table] == pytest.approx(found.tolist(), nan_ok=True)
