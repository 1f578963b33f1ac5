from __future__ import annotations

import statistics

import pytest

from outrider.cache.held import MOST_AHEAD, Held, ahead_s, jittered


def test_the_ends_of_a_life_follow_each_other() -> None:
    held = Held("v", kept_s=100.0, fresh_s=60.0, stale_s=30.0, ahead_s=2.0)
    assert (held.refresh_s, held.fresh_until_s, held.dies_s) == (158.0, 160.0, 190.0)


def test_a_slow_load_leaves_half_of_the_life_without_a_refresh() -> None:
    held = Held("v", kept_s=0.0, fresh_s=60.0, ahead_s=1000.0)
    assert held.refresh_s == 60.0 * (1 - MOST_AHEAD)


def test_what_was_stale_already_is_due_at_once() -> None:
    held = Held("v", kept_s=100.0, fresh_s=-5.0, stale_s=30.0, ahead_s=2.0)
    assert (held.refresh_s, held.dies_s) == (95.0, 125.0)


def test_the_time_ahead_is_drawn_from_an_exponential_of_the_load_time() -> None:
    draws = [number / 1000 for number in range(1000)]
    ahead = [ahead_s(2.0, lambda draw=draw: draw) for draw in draws]  # type: ignore[misc]
    assert ahead[0] == 0.0
    assert statistics.mean(ahead) == pytest.approx(2.0, rel=0.02)
    assert statistics.median(ahead) == pytest.approx(2.0 * 0.693, rel=0.02)


def test_keys_expire_apart_and_each_the_same_everywhere() -> None:
    lives = [jittered(100.0, 0.1, "n", str(number)) for number in range(1000)]
    assert 90.0 <= min(lives) < 90.5
    assert 99.5 < max(lives) <= 100.0
    assert len(set(lives)) == 1000
    assert lives == [jittered(100.0, 0.1, "n", str(number)) for number in range(1000)]


def test_without_jitter_a_life_is_what_was_asked_for() -> None:
    assert jittered(100.0, 0.0, "n", "k") == 100.0
