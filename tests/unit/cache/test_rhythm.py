from __future__ import annotations

from outrider.cache.rhythm import Rhythm


def beat(gap_s: float, visits: int) -> Rhythm:
    rhythm = Rhythm()
    for number in range(visits):
        rhythm = rhythm.after(number * gap_s)
    return rhythm


def test_a_steady_rhythm_is_known_ever_more_narrowly() -> None:
    assert beat(60, 40).gap_s == beat(60, 4).gap_s == 60
    assert beat(60, 40).jitter_s < 0.01 < beat(60, 4).jitter_s


def test_two_visits_are_too_few_to_speak_of_a_rhythm() -> None:
    assert not beat(60, 2).is_known()
    assert beat(60, 3).is_known()


def test_a_burst_is_one_visit() -> None:
    rhythm = Rhythm().after(0)
    assert not rhythm.begins_visit(5, ttl_s=60)
    assert rhythm.begins_visit(6, ttl_s=60)
