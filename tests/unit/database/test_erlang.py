from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.database import erlang
from outrider.errors import BadArgument

rates, holds = st.floats(0, 1e3), st.floats(0, 10)


def test_one_connection_is_the_queue_that_everybody_knows() -> None:
    """M/M/1: the chance to wait is the load, the mean wait load / (1 - load) holds."""
    assert erlang.waits(5, 0.1, 1) == pytest.approx(0.5)
    assert erlang.mean_wait_s(5, 0.1, 1) == pytest.approx(0.1)
    assert erlang.wait_s(5, 0.1, 1) == pytest.approx(math.log(50) / 5)


def test_a_table_of_erlang_c() -> None:
    """Values of published tables: load 8 on 10, load 16 on 20 servers."""
    assert erlang.waits(8, 1, 10) == pytest.approx(0.409, abs=5e-4)
    assert erlang.waits(16, 1, 20) == pytest.approx(0.256, abs=5e-4)


@given(rates, holds, st.integers(1, 200))
def test_one_connection_more_never_lengthens_the_wait(
    rate: float, hold_s: float, servers: int
) -> None:
    assert erlang.wait_s(rate, hold_s, servers + 1) <= erlang.wait_s(rate, hold_s, servers)
    assert 0 <= erlang.waits(rate, hold_s, servers) <= 1


@given(rates, holds)
def test_the_least_is_stable_and_one_less_is_not(rate: float, hold_s: float) -> None:
    least = erlang.least(rate, hold_s)
    assert rate * hold_s < least
    assert least == 1 or rate * hold_s >= least - 1
    assert math.isfinite(erlang.mean_wait_s(rate, hold_s, least))


def test_holds_that_vary_more_wait_longer_and_steady_ones_are_promised_no_less() -> None:
    usual = erlang.wait_s(10, 0.3, 4)
    assert erlang.wait_s(10, 0.3, 4, cv=2) == pytest.approx(2.5 * usual)
    assert erlang.wait_s(10, 0.3, 4, cv=0) == usual


@pytest.mark.parametrize("bad", [(-1, 1, 1), (math.nan, 1, 1), (1, math.inf, 1), (1, 1, 0)])
def test_a_number_out_of_its_range_is_named(bad: tuple[float, float, int]) -> None:
    with pytest.raises(BadArgument, match=r"give|at least"):
        erlang.waits(*bad)
