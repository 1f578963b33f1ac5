from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.cache import window


def test_a_steady_timer_is_awaited_and_loaded_just_before_it() -> None:
    best = window.choose([60.0] * 16, idle_s=30, ttl_s=30)
    assert best.idle_s == pytest.approx(59.99, abs=0.02)
    assert best.chance > 0.95


def test_of_two_timers_the_next_one_due_is_awaited() -> None:
    gaps = [60.0] * 12 + [200.0] * 4
    assert 31 < window.choose(gaps, idle_s=31, ttl_s=30).idle_s < 60
    assert 171 < window.choose(gaps, idle_s=70, ttl_s=30).idle_s < 200


def test_a_key_in_a_burst_is_loaded_at_once_for_the_next_use_is_near() -> None:
    best = window.choose([600.0] * 4, idle_s=0.1, ttl_s=60, burst=0.95)
    assert best.idle_s == 0.1
    assert best.chance > 0.9


def test_an_extra_load_that_costs_more_is_made_later() -> None:
    gaps = [58.0, 59.0, 60.0, 60.5, 61.0, 62.0, 59.5, 60.2]
    cheap, dear = (
        window.choose(gaps, idle_s=57, ttl_s=60, price=price).idle_s for price in (0.3, 0.95)
    )
    assert cheap < dear


def test_a_load_ahead_of_a_timer_of_the_lifes_own_period_costs_a_part_of_a_load() -> None:
    gaps = [59.0, 60.0, 61.0, 59.5, 60.5, 60.0, 60.2, 59.8]
    early = window.choose(gaps, idle_s=50, ttl_s=60, price=0.1)
    assert 0.05 < early.shift < 0.5
    assert window.choose([gap * 3 for gap in gaps], idle_s=150, ttl_s=60, price=0.1).shift < 0.01


def test_nothing_is_known_of_a_key_that_was_never_idle_for_so_long() -> None:
    assert window.choose([10.0, 20.0], idle_s=30, ttl_s=60) == window.Window(30, 0.0, 0.0, 0)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.1, 1e5), max_size=16),
    st.floats(0, 1e5),
    st.floats(1, 1e4),
    st.tuples(st.floats(0, 1), st.floats(0.1, 0.97)),
)
def test_a_moment_is_never_in_the_past_and_a_chance_is_one(
    gaps: list[float], idle_s: float, ttl_s: float, at: tuple[float, float]
) -> None:
    burst, price = at
    best = window.choose(gaps, idle_s=idle_s, ttl_s=ttl_s, burst=burst, price=price)
    assert best.idle_s >= idle_s
    assert 0 <= best.chance <= 1
    assert best.shift >= 0
