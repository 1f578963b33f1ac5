from __future__ import annotations

import math
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache.memory import MemoryCache
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_value_that_was_set_is_returned() -> None:
    cache = MemoryCache(10)
    cache.set("a", 1)
    assert cache.get("a") == 1


def test_a_missing_key_gives_the_default() -> None:
    assert MemoryCache(10).get("a", "none") == "none"


def test_none_is_a_value_like_any_other() -> None:
    cache = MemoryCache(10)
    cache.set("a", None)
    assert cache.get("a", "missing") is None


def test_a_value_lives_until_its_time_is_over(clock: Any) -> None:
    cache = MemoryCache(10, clock=clock)
    cache.set("a", 1, ttl_s=5)
    clock.advance(4.9)
    assert cache.get("a") == 1
    clock.advance(0.1)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_a_value_without_a_time_to_live_stays(clock: Any) -> None:
    cache = MemoryCache(10, clock=clock)
    cache.set("a", 1)
    clock.advance(10**9)
    assert cache.get("a") == 1


def test_setting_again_renews_the_life(clock: Any) -> None:
    cache = MemoryCache(10, clock=clock)
    cache.set("a", 1, ttl_s=5)
    clock.advance(4)
    cache.set("a", 2, ttl_s=5)
    clock.advance(4)
    assert cache.get("a") == 2


def test_a_time_to_live_of_zero_forgets_the_key(clock: Any) -> None:
    cache = MemoryCache(10, clock=clock)
    cache.set("a", 1)
    cache.set("a", 2, ttl_s=0)
    assert cache.get("a") is None


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = MemoryCache(2)
    cache.set("a", 1)
    cache.set("b", 2)
    cache.get("a")
    cache.set("c", 3)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c"), cache.evicted) == (1, 3, 1)


def test_setting_a_key_again_does_not_evict_another() -> None:
    cache = MemoryCache(2)
    cache.set("a", 1)
    cache.set("b", 2)
    cache.set("b", 3)
    assert (cache.get("a"), cache.get("b"), cache.evicted) == (1, 3, 0)


def test_delete_tells_whether_the_key_was_there() -> None:
    cache = MemoryCache(2)
    cache.set("a", None)
    assert cache.delete("a")
    assert not cache.delete("a")


def test_clear_forgets_everything() -> None:
    cache = MemoryCache(2)
    cache.set("a", 1)
    cache.clear()
    assert (cache.get("a"), len(cache)) == (None, 0)


def test_a_cache_that_holds_nothing_is_refused() -> None:
    with pytest.raises(BadArgument, match="capacity = 0"):
        MemoryCache(0)


def test_threads_never_see_a_foreign_value_or_exceed_the_capacity() -> None:
    cache = MemoryCache(50)
    wrong: list[object] = []
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        start.wait()
        for step in range(3000):
            key = (step * 7 + seed) % 120
            cache.set(key, -key)
            found = cache.get((key + 1) % 120, -((key + 1) % 120))
            if found != -((key + 1) % 120) or len(cache) > 50:
                wrong.append(found)
            if step % 5 == 0:
                cache.delete(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_bytes_bound_the_cache_as_well() -> None:
    cache = MemoryCache(1000, capacity_bytes=1000, size_of=lambda _key, value: len(value))
    for number in range(100):
        cache.set(number, b"x" * 100)
    counted = cache.stats()
    assert (counted.entries, counted.size_bytes, counted.evicted) == (10, 1000, 90)
    assert cache.get(99) == b"x" * 100


def test_a_value_that_grows_pushes_others_out() -> None:
    cache = MemoryCache(1000, capacity_bytes=1000, size_of=lambda _key, value: len(value))
    for number in range(10):
        cache.set(number, b"x" * 100)
    cache.set(9, b"x" * 800)
    counted = cache.stats()
    assert counted.size_bytes <= 1000
    assert cache.get(9) in (None, b"x" * 800)


def test_a_value_larger_than_the_cache_is_not_kept_and_its_old_one_is_gone() -> None:
    cache = MemoryCache(10, capacity_bytes=100, size_of=lambda _key, value: len(value))
    cache.set("a", b"x")
    cache.set("a", b"x" * 101)
    cache.set("b", b"x" * 101)
    counted = cache.stats()
    assert (len(cache), counted.size_bytes, counted.too_large) == (0, 0, 2)


def test_the_size_of_a_value_is_estimated_unless_it_is_told() -> None:
    cache = MemoryCache(10, capacity_bytes=10**6)
    cache.set("a", ["x" * 1000] * 2)
    assert 1000 < cache.stats().size_bytes < 1500
    cache.set("a", "x", size_bytes=5)
    assert cache.stats().size_bytes == 5


def test_a_listener_hears_what_went_by_itself_and_may_use_the_cache(clock: Any) -> None:
    heard: list[tuple[Any, Any, str]] = []

    def listen(key: Any, value: Any, why: str) -> None:
        heard.append((key, value, why))
        cache.get(key)
        len(cache)

    cache = MemoryCache(2, listener=listen, clock=clock)
    cache.set("short", 1, ttl_s=1)
    cache.set("deleted", 2)
    cache.delete("deleted")
    clock.advance(2)
    assert cache.expire() == float("inf")
    for number in range(3):
        cache.set(number, number)
    assert heard == [("short", 1, "expired"), (0, 0, "evicted")]


def test_expired_entries_go_when_others_come_without_being_asked_for(clock: Any) -> None:
    cache = MemoryCache(10_000, clock=clock)
    for number in range(1000):
        cache.set(number, number, ttl_s=1 + number % 7)
    clock.advance(7.1)
    for number in range(4):
        cache.set(("new", number), number, ttl_s=60)
    assert cache.stats().entries == 4
    assert cache.stats().expired == 1000


def test_an_infinite_time_to_live_is_none() -> None:
    cache = MemoryCache(2)
    cache.set("a", 1, ttl_s=float("inf"))
    assert cache.get("a") == 1
    cache.set("a", 1, ttl_s=float("nan"))
    assert cache.get("a") is None


def test_taking_the_time_to_live_off_keeps_the_value(clock: Any) -> None:
    cache = MemoryCache(2, clock=clock)
    cache.set("a", 1, ttl_s=1)
    cache.set("a", 2)
    clock.advance(5)
    assert (cache.get("a"), len(cache)) == (2, 1)


def test_hits_and_misses_are_counted_also_of_what_is_gone() -> None:
    cache = MemoryCache(2)
    cache.set("a", 1)
    assert [cache.get("a"), cache.get("a"), cache.get("b"), cache.peek("a")] == [1, 1, None, 1]
    cache.delete("a")
    counted = cache.stats()
    assert (counted.hits, counted.misses, counted.entries) == (2, 1, 0)


def test_the_hottest_keys_come_first() -> None:
    cache = MemoryCache(10)
    for number in range(5):
        cache.set(number, number)
        for _ in range(number):
            cache.get(number)
    assert cache.hottest(2) == [(4, 4), (3, 3)]


def test_a_finaliser_that_uses_the_cache_does_not_block_it() -> None:
    cache = MemoryCache(10)
    ended: list[int] = []

    class Value:
        def __del__(self) -> None:
            cache.set("from the grave", 1)
            ended.append(1)

    cache.set("a", Value())
    cache.set("a", 1)
    cache.set("b", Value())
    cache.delete("b")
    cache.set("c", Value())
    cache.clear()
    assert len(ended) == 3
    assert cache.get("from the grave") == 1


class Front(dict[Any, Any]):
    """A dictionary that values are shown in."""


def shown(cache: MemoryCache, key: str, front: Front, **options: Any) -> float | None:
    value = cache.peek(key)
    return cache.show(key, value, front, name=key, shown=value, call=key, **options)


def test_a_shown_value_leaves_the_front_when_it_changes_goes_or_expires(clock: Any) -> None:
    cache, front = MemoryCache(3, clock=clock), Front()
    for key in "abc":
        cache.set(key, key.upper(), ttl_s=10)
        assert shown(cache, key, front) is not None
    assert {name: entry.shown for name, entry in front.items()} == {"a": "A", "b": "B", "c": "C"}
    cache.set("a", "AA", ttl_s=20)
    cache.delete("b")
    assert list(front) == ["c"]
    clock.advance(10.01)
    cache.expire()
    assert not front
    shown(cache, "a", front)
    assert front["a"].shown == "AA"
    cache.clear()
    assert not front


def test_a_value_is_shown_no_longer_than_it_may_be_and_lives_on(clock: Any) -> None:
    cache, front = MemoryCache(3, clock=clock), Front()
    cache.set("a", 1, ttl_s=100)
    due_s = shown(cache, "a", front, for_s=5)
    assert due_s is not None
    clock.advance(4.9)
    assert cache.expire() > clock.monotonic()
    assert "a" in front
    clock.advance(0.11)
    cache.expire()
    assert "a" not in front
    assert cache.get("a") == 1
    clock.advance(95)
    cache.expire()
    assert cache.stats().entries == 0


def test_a_value_that_was_replaced_meanwhile_is_not_shown() -> None:
    cache, front = MemoryCache(3), Front()
    cache.set("a", "old")
    old = cache.peek("a")
    cache.set("a", "new")
    assert cache.show("a", old, front, name="a", shown=old) is None
    assert not front


def test_a_name_shows_one_value_at_a_time() -> None:
    cache, front = MemoryCache(3), Front()
    cache.set("a", 1)
    cache.set("b", 2)
    cache.show("a", 1, front, name="same", shown=1)
    cache.show("b", 2, front, name="same", shown=2)
    cache.delete("a")
    assert front["same"].shown == 2


def test_uses_of_shown_values_are_handed_over_once_also_of_what_is_gone() -> None:
    cache, front = MemoryCache(2), Front()
    cache.set("a", 1)
    cache.set("b", 2)
    for key in "ab":
        shown(cache, key, front)
    front["a"].served += 3
    front["b"].served += 2
    assert sorted(cache.served()) == [("a", 3), ("b", 2)]
    front["a"].served += 1
    cache.delete("a")
    assert cache.served() == [("a", 1)]
    assert cache.served() == []
    assert cache.stats().hits == 6


def test_uses_of_shown_values_keep_them() -> None:
    cache, front = MemoryCache(20), Front()
    cache.set("shown", 1)
    shown(cache, "shown", front)
    for number in range(1000):
        front["shown"].served += 1
        cache.set(number, number)
    assert cache.get("shown") == 1


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads be switched all the time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Stress:
    """What each thread does, and what it saw that must not be."""

    def __init__(self) -> None:
        self.clock = Turning()
        self.cache = MemoryCache(
            64, capacity_bytes=640, size_of=lambda _key, value: 5 + value[0] % 10, clock=self.clock
        )
        self.front = Front()
        self.wrong: list[object] = []
        self._start = threading.Barrier(6)

    def work(self, seed: int) -> None:
        self._start.wait()
        for step in range(2500):
            key = (step * 7 + seed * 13) % 150
            value = [key, math.inf]
            self.cache.set(key, value, ttl_s=1.0)
            value[1] = self.clock.monotonic() + 1.0  # it does not live longer than that
            if step % 3 == 0:
                self.cache.show(
                    key, self.cache.peek(key), self.front, name=key, shown=key, call=key
                )
            self.look((key * 3 + 1) % 150)
            if step % 11 == 0:
                self.cache.delete(key)
            if step % 50 == 0:
                self.clock.turn(0.3)
                self.cache.expire()
                self.cache.served()
            if step % 1000 == 999:
                self.cache.clear()

    def look(self, key: int) -> None:
        before_s = self.clock.monotonic()
        found = self.cache.get(key)
        if found is not None and (found[0] != key or found[1] <= before_s):
            self.wrong.append((key, found, before_s))
        try:
            shown = self.front[key].shown
        except (KeyError, AttributeError):
            return
        if shown != key:
            self.wrong.append((key, shown))


@pytest.mark.usefixtures("hasty")
def test_threads_keep_all_promises_under_stress() -> None:
    """Values belong to their key, expired ones are never seen, bounds and counts hold."""
    stress = Stress()
    cache, front = stress.cache, stress.front
    threads = [threading.Thread(target=stress.work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stress.wrong == []
    counted = cache.stats()
    held = list(cache._entries.values())
    assert counted.entries <= 64
    assert counted.size_bytes == sum(entry.size_bytes for entry in held) <= 640
    assert sorted(map(id, held)) == sorted(map(id, cache._queues))
    assert set(front.values()) == set(cache._shown.values()) <= set(held)
    stress.clock.turn(10)
    cache.expire()
    assert len(cache) == len(front) == 0


class Turning:
    """A clock that several threads may turn."""

    def __init__(self) -> None:
        self._at_s = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self._at_s

    now = monotonic

    def turn(self, seconds: float) -> None:
        with self._lock:
            self._at_s += seconds


def test_a_child_forked_while_another_thread_sets_can_go_on() -> None:
    cache = MemoryCache(100)
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            cache.set(number, number)
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                for number in range(300):
                    cache.set(("child", number), number)
                good = cache.get(("child", 299)) == 299 and len(cache) <= 100
                os._exit(0 if good else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        ended.set()
        thread.join()
