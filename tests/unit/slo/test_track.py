from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from outrider.slo import burn
from outrider.slo.burn import Counts
from outrider.slo.track import Track


@hypothesis_settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=80),
       st.integers(1, 80))  # fmt: skip
def test_a_window_is_what_its_ticks_add_up_to(made: list[tuple[int, int]], ticks: int) -> None:
    track, good, total = Track(0.0, 86_400.0), 0, 0
    for tick, (new_good, bad) in enumerate(made, start=1):
        good, total = good + new_good, total + new_good + bad
        track.add(tick * 10.0, good, total)
    inside = made[-ticks:]
    covered = min(1.0, len(made) / ticks)

    found = track.window(ticks * 10.0)

    assert (sum(bad for _, bad in inside), sum(map(sum, inside))) == (found.bad, found.total)
    assert covered == pytest.approx(found.covered)


def test_windows_stay_right_for_weeks_in_little_memory() -> None:
    rng = random.Random(1)
    track, sums = Track(0.0, 30 * 86_400.0), [(0, 0)]
    for tick in range(1, 5 * 8640 + 1):
        bad = int(rng.random() < 0.01)
        sums.append((sums[-1][0] + 1 - bad, sums[-1][1] + 1))
        track.add(tick * 10.0, *sums[-1])
    now = len(sums) - 1

    for span_s in burn.WINDOWS_S:
        found = track.window(span_s)
        allowed = 0 if span_s <= 7200 else 30  # the grid of five minutes
        assert 0 <= found.total - span_s / 10 <= allowed
        start = now - found.total
        assert sums[now][0] - sums[start][0] == found.total - found.bad
    assert len(track._times) < 5000


def test_what_is_not_newer_is_passed_over() -> None:
    track = Track(0.0, 86_400.0)
    track.add(10.0, 1, 1)
    track.add(10.0, 5, 5)

    assert Counts(0, 1, 10 / 60) == track.window(60.0)


def test_a_track_that_lost_its_beginning_covers_what_it_has() -> None:
    track = Track(0.0, 86_400.0)
    track.add(100_000.0, 500, 1000)
    track.add(100_010.0, 501, 1001)

    assert Counts(0, 1, 10 / 3600) == track.window(3600.0)
