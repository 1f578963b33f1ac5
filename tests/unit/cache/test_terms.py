"""How long a value lives, and what is served meanwhile: without a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.tiered import TieredCache
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable

CALL, OTHER = canonical((1,), {}), canonical((2,), {})


@pytest.fixture
def make(clock: Any) -> Callable[..., TieredCache]:
    def build(**terms: Any) -> TieredCache:
        terms = {"ttl_s": 60.0, "jitter": 0.0} | terms
        return TieredCache("t", codec=Codec("f"), clock=clock, **terms)

    return build


class Loader:
    """Returns a new value at each call, or waits with it until it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.may = threading.Event()
        self.may.set()

    def __call__(self) -> str:
        self.calls += 1
        number = self.calls
        assert self.may.wait(20)
        return f"value {number}"


def fail() -> Any:
    raise LookupError("gone")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_stale_value_is_served_while_one_thread_loads_anew(make: Any, clock: Any) -> None:
    cache, load = make(stale_s=30), Loader()
    cache.load(CALL, load)
    clock.advance(61)
    load.may.clear()
    assert [cache.load(CALL, load) for _ in range(3)] == ["value 1"] * 3
    load.may.set()
    until(lambda: cache.get(CALL.key) == "value 2")
    assert cache.load(CALL, fail) == "value 2"
    assert (cache.statistics.stale_hits, cache.statistics.refreshes, load.calls) == (3, 1, 2)


def test_a_value_past_its_stale_time_is_waited_for(make: Any, clock: Any) -> None:
    cache, load = make(stale_s=30), Loader()
    cache.load(CALL, load)
    clock.advance(91)
    assert cache.load(CALL, load) == "value 2"


def test_a_refresh_that_fails_leaves_the_stale_value_and_is_tried_again_later(
    make: Any, clock: Any
) -> None:
    cache, load = make(stale_s=30), Loader()
    cache.load(CALL, load)
    clock.advance(61)
    assert cache.load(CALL, fail) == "value 1"
    until(lambda: cache.statistics.errors == 1 and CALL.key not in cache._refreshes)
    assert cache.load(CALL, fail) == "value 1"
    assert cache.statistics.refreshes == 1
    clock.advance(2)
    assert cache.load(CALL, load) == "value 1"
    until(lambda: cache.get(CALL.key) == "value 2")


def test_a_stale_value_is_served_while_a_task_loads_anew(make: Any, clock: Any) -> None:
    cache = make(stale_s=30)

    async def main() -> list[str]:
        may = asyncio.Event()

        async def load() -> str:
            await may.wait()
            return "new"

        cache.set(CALL.key, "old")
        clock.advance(61)
        found = [await cache.load_async(CALL, load) for _ in range(2)]
        may.set()
        await asyncio.gather(*cache._beside()._tasks)
        return [*found, await cache.load_async(CALL, load)]

    assert asyncio.run(main()) == ["old", "old", "new"]
    assert cache.statistics.refreshes == 1


def test_a_value_is_refreshed_ahead_of_its_end_in_proportion_to_its_load(
    make: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.6321205588)  # a draw of one load time
    cache, load = make(stale_s=1), Loader()
    cache.statistics.loads, cache.statistics.load_s = 1, 10.0  # loads take ten seconds
    cache.set(CALL.key, "first")
    clock.advance(49)
    assert cache.load(CALL, fail) == "first"
    assert cache.statistics.refreshes == 0
    clock.advance(2)
    assert cache.load(CALL, load) == "first"
    until(lambda: cache.get(CALL.key) == "value 1")
    assert (cache.statistics.refreshes, cache.statistics.stale_hits) == (1, 0)


def test_invalidating_keeps_a_refresh_under_way_from_bringing_its_value(
    make: Any, clock: Any
) -> None:
    cache, load = make(stale_s=30), Loader()
    cache.load(CALL, load)
    clock.advance(61)
    load.may.clear()
    cache.load(CALL, load)
    until(lambda: load.calls == 2)
    cache.invalidate(CALL.key)
    load.may.set()
    until(lambda: cache.statistics.loads == 2)
    assert cache.load(CALL, load) == "value 3"


def test_nothing_found_is_kept_for_its_own_time(make: Any, clock: Any) -> None:
    cache, calls = make(negative_s=5, stale_s=30), []

    def load() -> None:
        calls.append(1)

    assert [cache.load(CALL, load) for _ in range(2)] == [None, None]
    assert len(calls) == 1
    clock.advance(6)
    cache.load(CALL, load)
    assert len(calls) == 2


def test_an_error_is_raised_again_for_its_time_and_never_seen_as_a_value(
    make: Any, clock: Any
) -> None:
    cache, load = make(errors_s=5), Loader()
    for _ in range(3):
        with pytest.raises(LookupError, match="gone"):
            cache.load(CALL, fail)
    assert cache.statistics.errors == 1
    assert cache.get(CALL.key, "nothing") == "nothing"
    assert cache.memory.get(CALL.key) is None
    clock.advance(6)
    assert cache.load(CALL, load) == "value 1"


def test_an_error_is_forgotten_by_invalidating(make: Any) -> None:
    cache, load = make(errors_s=5), Loader()
    with pytest.raises(LookupError):
        cache.load(CALL, fail)
    cache.invalidate(CALL.key)
    assert cache.load(CALL, load) == "value 1"


def test_a_tag_forgets_what_bears_it(make: Any) -> None:
    cache, load = make(tags=("all",)), Loader()
    cache.set("a", 1, tags=("user:1", "shop"))
    cache.set("b", 2, tags=("user:2", "shop"))
    cache.invalidate_tag("user:1")
    assert (cache.get("a"), cache.get("b")) == (None, 2)
    cache.invalidate_tag("all")
    assert cache.get("b") is None
    assert cache.load(CALL, load) == "value 1"


def test_a_load_that_is_under_way_when_its_tag_is_forgotten_is_not_kept(make: Any) -> None:
    cache = make(tags=("all",))

    def load() -> str:
        cache.invalidate_tag("all")
        return "old"

    assert cache.load(CALL, load) == "old"
    assert cache.get(CALL.key) is None


def test_names_of_keys_that_have_gone_do_not_pile_up_under_their_tags(make: Any) -> None:
    cache = make(capacity=10)
    for number in range(1000):
        cache.set(str(number), number, tags=("all",))
    assert len(cache._shelf._tagged["all"]) <= 41
    cache.invalidate_tag("all")
    assert len(cache) == 0


def test_a_namespace_forgets_all(make: Any) -> None:
    cache, load = make(stale_s=30), Loader()
    cache.load(CALL, load)
    cache.load(OTHER, load)
    cache.invalidate_namespace()
    assert cache.load(CALL, load) == "value 3"


def test_expiry_is_spread_by_the_jitter_that_is_asked_for(make: Any) -> None:
    cache = make(jitter=0.5)
    for number in range(100):
        cache.set(str(number), number)
    left = [cache.explain(str(number))["fresh_for_s"] for number in range(100)]
    assert 30.0 <= min(left) < 35.0
    assert 55.0 < max(left) <= 60.0


def test_a_key_is_explained(make: Any, clock: Any) -> None:
    cache = make(stale_s=30)
    cache.set("k", "v", tags=("t",))
    clock.advance(10)
    assert cache.explain("k") == {
        "namespace": "t",
        "key": "k",
        "in_memory": True,
        "age_s": 10,
        "fresh_for_s": 50,
        "refresh_in_s": 50,
        "dies_in_s": 80,
        "load_s": 0,
        "tags": ["t"],
        "error": None,
        "is_loading": False,
        "redis": "not used",
    }
    assert not cache.explain("other")["in_memory"]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"stale_s": -1}, "stale_s = -1"),
        ({"negative_s": float("inf")}, "negative_s = inf"),
        ({"errors_s": float("nan")}, "errors_s = nan"),
        ({"jitter": 1}, "jitter = 1"),
        ({"tier": "disk"}, "tier = 'disk'"),
        ({"tier": "redis", "stale_s": 1}, "has no memory"),
        ({"loader_version": "a:b"}, "loader_version = 'a:b'"),
    ],
)
def test_values_out_of_range_are_refused(make: Any, terms: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        make(**terms)


def test_a_refresh_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = """
import time
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.tiered import TieredCache
cache = TieredCache("t", ttl_s=0.001, stale_s=60, codec=Codec("f"))
call = canonical((1,), {})
cache.load(call, lambda: "old")
time.sleep(0.01)
print(cache.load(call, lambda: time.sleep(3600)), cache.statistics.refreshes)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "old 1\n"


def test_no_more_threads_refresh_than_there_are_places(make: Any, clock: Any) -> None:
    cache, load = make(stale_s=30), Loader()
    calls = [canonical((number,), {}) for number in range(20)]
    for call in calls:
        cache.load(call, load)
    clock.advance(61)
    load.may.clear()
    for call in calls:
        cache.load(call, load)
    until(lambda: load.calls == 28)
    load.may.set()
    until(lambda: cache.statistics.loads == 28)
    assert load.calls == 28
