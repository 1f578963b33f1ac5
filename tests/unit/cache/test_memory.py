from __future__ import annotations

import threading
from typing import Any

import pytest

from outrider.cache.memory import MemoryCache
from outrider.errors import BadArgument


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
