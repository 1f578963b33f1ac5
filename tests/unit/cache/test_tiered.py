from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache import keys
from outrider.cache.calls import Call, canonical
from outrider.cache.codec import Codec
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.errors import BadArgument, RedisRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

CALL = canonical((1,), {})
PATIENT_S = 20.0


@pytest.fixture
def open_tier(clock: Any) -> Iterator[Callable[[str], RedisTier]]:
    opened: list[RedisTier] = []

    def build(url: str, **options: Any) -> RedisTier:
        opened.append(RedisTier(url, **{"timeout_s": PATIENT_S} | options))
        return opened[-1]

    yield build
    for tier in opened:
        tier.close()


@pytest.fixture
def make(clock: Any, open_tier: Any) -> Callable[..., TieredCache]:
    """Build caches as separate processes would have them."""

    def build(url: str | None = None, *, ttl_s: float = 60.0, **terms: Any) -> TieredCache:
        # A busy machine is no outage; where one is meant, the limit is what it is for everybody.
        remote = open_tier(url, timeout_s=terms.pop("timeout_s", PATIENT_S)) if url else None
        return TieredCache("t", ttl_s=ttl_s, codec=Codec("f"), remote=remote, clock=clock, **terms)

    return build


class Loader:
    """Returns a new value at each call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return f"value {self.calls}"


def fail() -> None:
    raise LookupError("gone")


def test_a_value_is_loaded_once_and_then_served_from_memory(make: Any) -> None:
    cache, load = make(), Loader()
    assert [cache.load(CALL, load) for _ in range(3)] == ["value 1"] * 3
    numbers = cache.statistics
    assert (numbers.misses, numbers.loads, numbers.hits_memory) == (1, 1, 2)


def test_another_process_finds_the_value_in_redis(make: Any, valkey_url: str) -> None:
    one, other = make(valkey_url), make(valkey_url)
    one.load(CALL, Loader())
    # Word of the write itself may come after its first reader; then Redis is asked once more.
    assert [other.load(CALL, fail) for _ in range(5)] == ["value 1"] * 5
    numbers = other.statistics
    assert numbers.hits_redis in (1, 2)
    assert (numbers.hits_redis + numbers.hits_memory, numbers.loads) == (5, 0)


def test_values_stand_as_msgpack_under_a_documented_key_with_a_time_to_live(
    make: Any, valkey_url: str, client: redis.Redis
) -> None:
    make(valkey_url, ttl_s=60).load(CALL, Loader())
    assert client.keys("or:cache:v:*") == [b"or:cache:v:t:[1]"]
    assert 50 < int(client.ttl("or:cache:v:t:[1]")) <= 60


def test_a_value_from_redis_lives_in_memory_only_for_the_rest_of_its_life(
    make: Any, valkey_url: str, clock: Any
) -> None:
    one, other = make(valkey_url, ttl_s=60), make(valkey_url, ttl_s=60)
    one.load(CALL, Loader())
    clock.advance(50)
    while len(other) == 0:  # word of the write itself may come after its first reader
        assert other.load(CALL, fail) == "value 1"
    clock.advance(10)
    assert other.memory.get(CALL.key) is None


def test_an_expired_value_is_loaded_again(make: Any, clock: Any) -> None:
    cache, load = make(), Loader()
    cache.load(CALL, load)
    clock.advance(60)
    assert cache.load(CALL, load) == "value 2"


def test_invalidating_forgets_both_tiers(make: Any, valkey_url: str) -> None:
    cache, load = make(valkey_url), Loader()
    cache.load(CALL, load)
    cache.invalidate(CALL.key)
    assert cache.get(CALL.key) is None
    assert cache.load(CALL, load) == "value 2"


def test_a_value_invalidated_while_it_loads_is_not_kept(make: Any, valkey_url: str) -> None:
    cache = make(valkey_url)

    def load() -> str:
        cache.invalidate(CALL.key)
        return "old"

    assert cache.load(CALL, load) == "old"
    assert cache.get(CALL.key) is None


def test_refreshing_loads_whatever_is_cached(make: Any, valkey_url: str) -> None:
    cache, load = make(valkey_url), Loader()
    cache.load(CALL, load)
    assert cache.refresh(CALL, load) == "value 2"
    assert make(valkey_url).get(CALL.key) == "value 2"


def test_a_refresh_that_fails_leaves_the_old_value(make: Any) -> None:
    cache = make()
    cache.load(CALL, Loader())
    with pytest.raises(LookupError):
        cache.refresh(CALL, fail)
    assert cache.get(CALL.key) == "value 1"


def test_exceptions_are_counted_and_not_cached(make: Any) -> None:
    cache = make()
    with pytest.raises(LookupError):
        cache.load(CALL, fail)
    assert cache.load(CALL, Loader()) == "value 1"
    assert (cache.statistics.errors, cache.statistics.loads) == (1, 1)


@pytest.mark.parametrize("url", [None, "valkey"])
def test_a_value_that_msgpack_cannot_hold_is_refused_with_or_without_redis(
    make: Any, valkey_url: str, url: str | None
) -> None:
    with pytest.raises(BadArgument, match="f returned a object"):
        make(url and valkey_url).load(CALL, object)


def test_a_damaged_value_in_redis_is_loaded_anew(
    make: Any, valkey_url: str, client: redis.Redis
) -> None:
    client.set(keys.value("t", CALL.key), b"nonsense")
    cache = make(valkey_url)
    assert cache.load(CALL, Loader()) == "value 1"
    assert cache.statistics.unreadable == 1
    assert make(valkey_url).get(CALL.key) == "value 1"


def test_peeking_neither_loads_nor_counts(make: Any, valkey_url: str) -> None:
    make(valkey_url).set(CALL.key, None)
    cache = make(valkey_url)
    assert cache.get(CALL.key, "missing") is None
    assert cache.get("other", "missing") == "missing"
    assert cache.statistics.hits == cache.statistics.misses == 0


def test_an_async_caller_reaches_redis_without_its_loop(make: Any, valkey_url: str) -> None:
    async def load() -> str:
        return "value"

    async def fail_async() -> str:
        raise LookupError("gone")

    cache = make(valkey_url)
    assert asyncio.run(cache.load_async(CALL, load)) == "value"
    other = make(valkey_url)
    assert asyncio.run(other.load_async(CALL, fail_async)) == "value"
    assert asyncio.run(other.load_async(CALL, fail_async)) == "value"
    assert other.statistics.hits_redis in (1, 2)
    assert other.statistics.hits == 2


def stop_by(server: Any, way: str) -> None:
    server.kill() if way == "killed" else server.freeze()


def restart_after(server: Any, way: str) -> None:
    server.start() if way == "killed" else server.thaw()


@pytest.mark.parametrize("way", ["killed", "frozen"])
def test_memory_serves_and_loaders_load_while_redis_is(way: str, make: Any, server: Any) -> None:
    cache, load = make(server.url), Loader()
    cache.load(CALL, load)
    stop_by(server, way)
    assert cache.load(CALL, fail) == "value 1"
    other: Call = canonical((2,), {})
    assert [cache.load(other, load) for _ in range(2)] == ["value 2"] * 2
    assert cache.is_away
    assert cache._remote.breaker.opened == 1
    # The first call may come before or after the connection was found to be lost.
    assert cache.statistics.fallbacks in (1, 2)
    assert cache.statistics.unsent_writes == 1


@pytest.mark.parametrize("way", ["killed", "frozen"])
def test_a_cache_starts_while_redis_is_away(way: str, make: Any, server: Any) -> None:
    stop_by(server, way)
    cache = make(server.url)
    assert cache.load(CALL, Loader()) == "value 1"
    assert cache.is_away


def test_an_address_that_is_none_is_refused_with_a_remedy() -> None:
    with pytest.raises(RedisRefused, match="OUTRIDER_REDIS_URL = 'nonsense'"):
        RedisTier("nonsense")
