from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from outrider.cache.choice import SHAPES, Chooser, Shadow
from outrider.cache.eviction import GONE, MAIN, PROBATION, WINDOW, Queues, Shape, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

TENTHS = Shape(recent=0.4, window=0.5, memory=1.5)


def filled(limit: int, shape: Shape = TENTHS) -> tuple[Queues, list[Slot]]:
    queues, slots = Queues(limit, shape), [Slot(number) for number in range(limit)]
    for slot in slots:
        queues.admit(slot)
    return queues, slots


def zipf(keys: int, count: int, seed: int = 1) -> Iterator[int]:
    draw = random.Random(seed)
    weights = [1 / (rank + 1) ** 0.9 for rank in range(keys)]
    return iter(draw.choices(range(keys), weights, k=count))


def hit_ratio(shape: Shape, stream: list[int], limit: int) -> float:
    shadow = Shadow(limit, shape)
    return sum(shadow.hits(key) for key in stream) / len(stream)


def test_a_key_that_is_never_used_leaves_first() -> None:
    queues, slots = filled(10)
    for slot in slots[1:]:
        slot.uses += 1
    assert queues.evict() is slots[0]
    assert slots[0].place == GONE
    assert len(queues) == 9


def test_uses_in_the_window_dont_count_and_uses_on_probation_do() -> None:
    queues = Queues(10, TENTHS)  # two in the window
    early, late = Slot(1), Slot(2)
    queues.admit(early)
    queues.admit(late)
    early.uses += 5
    for number in range(3, 5):
        queues.admit(Slot(number))
    assert (early.place, late.place) == (PROBATION, PROBATION)
    late.uses += 1
    assert queues.evict() is early
    queues.evict()
    assert late.place == MAIN


def test_a_key_that_comes_back_goes_to_main_after_the_window() -> None:
    queues, slots = filled(10)
    gone = queues.evict()
    assert gone is slots[0]
    back = Slot(gone.digest)
    queues.admit(back)
    assert back.place == WINDOW
    for number in range(100, 102):
        queues.admit(Slot(number))
    assert back.place == MAIN


def test_a_hundred_uses_in_one_burst_are_worth_one() -> None:
    """Of two keys in main, that used in many rounds outlives that used often in one."""
    queues = Queues(10, Shape(recent=0.1, window=0.0, memory=1.5))
    slots = [Slot(number) for number in range(10)]
    for slot in slots:
        queues.admit(slot)
        slot.uses += 1
    queues.evict()  # all were used: all are in main now, and the first of them is gone
    burst, steady = slots[1], slots[2]
    burst.uses += 100
    left: list[int] = []
    for number in range(100, 140):
        steady.uses += 1
        new = Slot(number)
        queues.admit(new)
        new.uses += 1
        gone = queues.evict()
        left.append(gone.digest)
    assert burst.digest in left
    assert steady.place == MAIN


def test_removed_slots_are_swept_out_however_many() -> None:
    queues, _ = filled(100)
    for number in range(10_000):
        slot = Slot(number)
        queues.admit(slot)
        queues.forget(slot)
    held = len(queues._window) + len(queues._probation) + len(queues._main)
    assert len(queues) == 100
    assert held <= 100 + 100 + 2 * 64 + 2
    assert len(list(queues)) == 100


def test_what_is_remembered_is_bounded() -> None:
    queues = Queues(100, Shape(memory=1.5))
    for number in range(10_000):
        if len(queues) == 100:
            queues.evict()
        queues.admit(Slot(number))
    assert 100 <= len(queues._young) + len(queues._old) <= 200


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_a_full_cache_can_always_evict_and_never_holds_more(shape: Shape, limit: int) -> None:
    shadow = Shadow(limit, shape)
    draw = random.Random(limit)
    for _ in range(3000):
        key = draw.randrange(4 * limit)
        shadow.hits(key)
        assert shadow.hits(key)  # what was just taken in is there
        assert len(shadow._slots) == len(shadow._queues) <= limit


def test_a_scan_does_not_push_out_what_is_used_again_and_again() -> None:
    hot = list(range(50))
    stream: list[int] = []
    for turn in range(60):
        stream += hot
        stream += range(1000 + 200 * turn, 1200 + 200 * turn)
    held = Shadow(100, Shape())
    for key in stream[: len(stream) // 2]:
        held.hits(key)
    later = stream[len(stream) // 2 :]
    hits = sum(held.hits(key) for key in later)
    assert hits == len(later) // 5  # every use of a hot key


def test_the_chooser_takes_the_shape_that_hits_most() -> None:
    """A loop through more than there is room for: only what keeps a stable few has hits."""
    loop = [number for _ in range(200) for number in range(80)]
    best = max(SHAPES, key=lambda shape: hit_ratio(shape, loop, 50))
    chooser = Chooser(50)
    for key in loop:
        chooser.see(key)
    assert hit_ratio(chooser.shape, loop, 50) >= 0.9 * hit_ratio(best, loop, 50)
    assert hit_ratio(chooser.shape, loop, 50) > hit_ratio(SHAPES[0], loop, 50) + 0.03


def test_the_chooser_stays_when_the_lead_is_chance() -> None:
    chooser = Chooser(64)
    shapes = []
    for key in zipf(2000, 30_000):
        chooser.see(key)
        shapes.append(chooser.shape)
    assert sum(one is not other for one, other in pairwise(shapes)) <= 12


def test_the_chooser_wants_fewer_keys_of_a_larger_cache() -> None:
    assert [Chooser(capacity).mask + 1 for capacity in (1, 64, 65, 10_000)] == [1, 1, 2, 256]
    assert all(shadow._limit <= 64 for shadow in Chooser(10**6)._shadows)
