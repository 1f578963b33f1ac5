from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.cache.rhythm import Rhythm


def beat(gap_s: float, visits: int) -> Rhythm:
    rhythm = Rhythm()
    for number in range(visits):
        rhythm = rhythm.after(number * gap_s)
    return rhythm


def test_a_steady_rhythm_is_predicted_ever_more_narrowly() -> None:
    assert beat(60, 4).next_from(181)[0] == beat(60, 40).next_from(2341)[0] - 36 * 60 == 240
    assert beat(60, 40).jitter_s < 0.01 < beat(60, 4).jitter_s


def test_two_visits_are_too_few_to_predict_from() -> None:
    assert not beat(60, 2).is_known()
    assert beat(60, 3).is_known()


def test_prediction_goes_on_to_the_first_use_after_the_time_asked_about() -> None:
    assert beat(60, 10).next_from(600)[0] == 600
    assert beat(60, 10).next_from(601)[0] == 660


def test_a_key_that_stopped_being_used_is_quiet() -> None:
    rhythm = beat(60, 20)
    assert not rhythm.is_quiet(19 * 60 + 60)
    assert rhythm.is_quiet(19 * 60 + 70)
    assert not rhythm.is_quiet(19 * 60 + 70, slack_s=15)


def test_a_burst_is_one_visit() -> None:
    rhythm = Rhythm().after(0)
    assert not rhythm.begins_visit(5, ttl_s=60)
    assert rhythm.begins_visit(6, ttl_s=60)


def test_the_chance_of_a_window_around_the_prediction_is_high_and_elsewhere_low() -> None:
    rhythm = beat(60, 20)
    assert rhythm.chance(1190, 1210) > 0.99
    assert rhythm.chance(1150, 1190) < 0.01


def test_many_short_gaps_in_a_window_make_a_use_certain() -> None:
    assert beat(1, 60).chance(60.5, 90) == pytest.approx(1.0)


@given(
    st.lists(st.floats(0.01, 1e6), min_size=3, max_size=30),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)
def test_a_chance_is_a_probability(gaps_s: list[float], start_s: float, width_s: float) -> None:
    rhythm, at_s = Rhythm().after(0.0), 0.0
    for gap_s in gaps_s:
        at_s += gap_s
        rhythm = rhythm.after(at_s)
    assert 0 <= rhythm.chance(at_s + start_s, at_s + start_s + width_s) <= 1
