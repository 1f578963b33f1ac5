from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from outrider.cache import sweeper
from outrider.cache.calls import Call, canonical
from outrider.cache.front import Front
from outrider.cache.memory import MemoryCache
from outrider.cache.sweeper import Sweeper

if TYPE_CHECKING:
    import pytest


class Counted:
    """Adds up what a front tells it."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __call__(self, call: Call, count: int) -> None:
        self.counts[call.key] = self.counts.get(call.key, 0) + count


def until(happened: Any) -> None:
    waiting, end_s = threading.Event(), time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end_s
        waiting.wait(0.002)


def show(front: Front, cache: MemoryCache, value: int, **options: Any) -> None:
    call = canonical((value,), {})
    front.show(call, cache.peek(call.key), name=value, kind=int, shown=value, **options)


def test_a_shown_value_goes_by_itself_when_its_time_is_over() -> None:
    cache, told = MemoryCache(10), Counted()
    front = Front(cache, {}, told)
    cache.set("[1]", 1, ttl_s=0.05)
    cache.set("[2]", 2, ttl_s=3600)
    show(front, cache, 1)
    show(front, cache, 2)
    assert set(front.table) == {1, 2}
    until(lambda: set(front.table) == {2})
    assert cache.peek("[1]") is None


def test_what_is_shown_for_a_while_is_served_by_the_cache_afterwards() -> None:
    cache = MemoryCache(10)
    front = Front(cache, {}, Counted())
    cache.set("[1]", 1)
    show(front, cache, 1, for_s=0.05)
    assert 1 in front.table
    until(lambda: 1 not in front.table)
    assert cache.get("[1]") == 1


def test_a_value_shown_later_with_an_earlier_end_goes_first() -> None:
    cache = MemoryCache(10)
    front = Front(cache, {}, Counted())
    cache.set("[1]", 1, ttl_s=3600)
    show(front, cache, 1)
    cache.set("[2]", 2, ttl_s=0.05)
    show(front, cache, 2)
    until(lambda: set(front.table) == {1})


def test_uses_are_told_within_a_second_or_when_asked() -> None:
    cache, told = MemoryCache(10), Counted()
    front = Front(cache, {}, told)
    cache.set("[1]", 1)
    show(front, cache, 1)
    front.table[1].served += 7
    until(lambda: told.counts == {"[1]": 7})
    front.table[1].served += 1
    front.count()
    assert told.counts == {"[1]": 8}


def test_no_thread_keeps_a_front_alive() -> None:
    def used_up() -> weakref.ref[Front]:
        cache = MemoryCache(10)
        front = Front(cache, {}, Counted())
        cache.set("[1]", 1, ttl_s=0.01)
        show(front, cache, 1)
        until(lambda: not front.table)
        return weakref.ref(front)

    gone = used_up()

    def collected() -> bool:
        gc.collect()
        return gone() is None

    until(collected)


def test_a_clock_that_is_turned_by_hand_starts_no_thread(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Sweeper()
    monkeypatch.setattr(sweeper, "_SWEEPER", mine)
    cache = MemoryCache(10, clock=clock)
    front = Front(cache, {}, Counted())
    cache.set("[1]", 1, ttl_s=5)
    show(front, cache, 1)
    assert mine._thread is None
    clock.advance(5.01)
    front.tick()
    assert not front.table


def test_a_fault_in_one_cache_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    mine, ticks = Sweeper(), threading.Event()

    class Broken:
        def tick(self) -> float:
            raise LookupError("gone")

    class Works:
        def tick(self) -> float:
            ticks.set()
            return float("inf")

    broken, works = Broken(), Works()
    mine.call(broken, 0.0)
    until(lambda: "could not be removed" in caplog.text)
    mine.call(works, 0.0)
    assert ticks.wait(20)
