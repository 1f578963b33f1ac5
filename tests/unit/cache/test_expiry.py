from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from outrider.cache.expiry import TICK_S, Wheel, take_out


class Thing:
    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.bucket: dict[Any, None] | None = None


def run(wheel: Wheel, now_s: float) -> list[Thing]:
    """Return what is due; file again what only came nearer."""
    due = []
    while taken := wheel.take(now_s, 100):
        for thing in taken:
            if thing.due_s <= now_s:
                due.append(thing)
            else:
                wheel.file(thing, thing.due_s, now_s)
    return due


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30), st.floats(0, 1e6))
def test_everything_comes_up_when_it_is_due_and_not_before(
    after_s: list[float], start_s: float
) -> None:
    wheel, waiting = Wheel(), set()
    for each in after_s:
        thing = Thing(start_s + each)
        wheel.file(thing, thing.due_s, start_s)
        waiting.add(thing)
    turns = 0
    while waiting:
        now_s = wheel.next_s()
        assert now_s < math.inf
        for thing in run(wheel, now_s):
            assert thing.due_s <= now_s <= thing.due_s + TICK_S
            waiting.remove(thing)
        turns += 1
        assert turns <= 8 * len(after_s)  # filed again a few times at most
    assert wheel.next_s() == math.inf


def test_what_was_taken_out_or_filed_again_does_not_come_up_at_its_old_time() -> None:
    wheel, one, other = Wheel(), Thing(5.0), Thing(5.0)
    wheel.file(one, 5.0, 0.0)
    wheel.file(other, 5.0, 0.0)
    take_out(one)
    other.due_s = 50.0
    wheel.file(other, 50.0, 0.0)
    assert run(wheel, 10.0) == []
    assert run(wheel, 51.0) == [other]


def test_a_day_of_entries_needs_few_buckets() -> None:
    wheel = Wheel()
    for number in range(50_000):
        wheel.file(Thing(86_400.0 * number / 50_000), 86_400.0 * number / 50_000, 0.0)
    assert len(wheel._buckets) < 1000
    assert len(wheel._ticks) == len(wheel._buckets)
