"""The cache on the real Redis, in a namespace of its own that is removed afterwards.

Two caches stand for two processes: what one writes the other finds in Redis. Each has the usage
record that ``@outrider.cached`` gives it, but does not send it: warming must not plan for us.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any, cast

from outrider.cache import keys
from outrider.cache.calls import Call, canonical
from outrider.cache.codec import Codec
from outrider.cache.patterns import NamespaceUse
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.validation import timing
from outrider.validation.figure import Figure, fact
from outrider.validation.targets import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from outrider.cache.statistics import Statistics
    from outrider.validation.env import Env

MEMORY_HITS, REDIS_HITS, MISSES, INVALIDATED = 20_000, 500, 500, 100
BUDGET_S = 3.0
# Should the validation be killed, its values go by themselves.
TTL_S = 60.0
# A skewed stream as bots have it: a few keys are asked for all the time, most of them seldom.
ZIPF_KEYS, ZIPF_CALLS, ZIPF_EXPONENT = 2000, 5000, 1.1
# Smaller than the keys asked for, so that both tiers have their part.
ZIPF_CAPACITY = 250
_SEED = 20_000


def run(env: Env) -> Iterator[Figure]:
    """Measure hits of both tiers, misses, a skewed stream, and what invalidation removes."""
    namespace = f"validation.{env.run}"
    tier = RedisTier(env.redis_url)
    made: list[TieredCache] = []

    def cache(capacity: int = 10_000) -> TieredCache:
        use = NamespaceUse(namespace, loader="", ttl_s=TTL_S)
        codec = Codec("validation")
        new = TieredCache(
            namespace, ttl_s=TTL_S, codec=codec, capacity=capacity, remote=tier, use=use
        )
        made.append(new)
        return new

    try:
        yield from _hits_in_memory(cache())
        yield from _misses_and_hits_in_redis(cache(), cache())
        yield from _skewed(cache(ZIPF_CAPACITY))
        yield _invalidated(env, namespace, cache(), cache())
        yield _fallbacks([each.statistics for each in made])
    finally:
        tier.close()
        left = _remove(env, namespace)
    yield judge("cache.left_behind", left, f"under {keys.value(namespace, '*')}")


def _hits_in_memory(cache: TieredCache) -> Iterator[Figure]:
    call = _call("memory", 0)
    cache.load(call, lambda: _value(0))
    took = timing.repeat(
        lambda: cache.load(call, lambda: _value(0)), MEMORY_HITS, budget_s=BUDGET_S
    )
    yield from _quantiles("cache.hit_memory", took)


def _misses_and_hits_in_redis(writer: TieredCache, reader: TieredCache) -> Iterator[Figure]:
    """Load keys that nobody has, then ask for the same from what could be another process."""
    calls = [_call("both", number) for number in range(max(MISSES, REDIS_HITS))]
    missed = timing.each(map(_loading, itertools.repeat(writer), calls), budget_s=BUDGET_S)
    kept = calls[: min(len(missed), REDIS_HITS)]
    hit = timing.each(map(_loading, itertools.repeat(reader), kept), budget_s=BUDGET_S)
    found = reader.statistics.hits_redis
    yield from _quantiles("cache.miss", missed, "with a loader that returns at once")
    yield from _quantiles("cache.hit_redis", hit, f"{found} found there")


def _skewed(cache: TieredCache) -> Iterator[Figure]:
    """Ask for keys of which the n-th is wanted 1/n^1.1 times as often as the first."""
    stream = zipf(ZIPF_KEYS, ZIPF_CALLS)
    timing.each((_loading(cache, _call("zipf", key)) for key in stream), budget_s=4 * BUDGET_S)
    counted = cache.statistics
    asked = counted.hits + counted.misses
    distinct = len(set(stream[:asked]))
    note = (
        f"{asked} calls on {distinct} keys: {counted.hits_memory} hits in memory"
        f" (room for {ZIPF_CAPACITY}), {counted.hits_redis} in Redis"
    )
    yield judge("cache.zipf.hit_ratio", counted.hit_ratio, note)
    yield judge("cache.zipf.loads_per_key", counted.loads / distinct, f"{counted.loads} loads")


def _invalidated(env: Env, namespace: str, cache: TieredCache, other: TieredCache) -> Figure:
    """Count the keys that are gone from memory and Redis, and that another process loads anew."""
    gone = 0
    for number in range(INVALIDATED):
        call = _call("invalidated", number)
        cache.load(call, lambda: _value(0))
        cache.invalidate(call.key)
        in_redis = env.redis.exists(keys.value(namespace, call.key))
        fresh = other.load(call, lambda: _value(1))
        gone += not in_redis and fresh == _value(1) and cache.get(call.key) == _value(1)
    return judge(
        "cache.invalidated_ratio", gone / INVALIDATED, f"{gone} of {INVALIDATED} keys were gone"
    )


def _fallbacks(counted: Sequence[Statistics]) -> Figure:
    fell = sum(each.fallbacks + each.unsent_writes + each.unsent_invalidations for each in counted)
    asked = sum(each.hits_redis + each.misses for each in counted)
    return judge("cache.fallback_ratio", fell / asked, f"{fell} in {asked} calls that need Redis")


def zipf(keys: int, calls: int) -> list[int]:
    """Return a stream of key numbers, the same each time, of which low ones are frequent."""
    weights = [1 / (rank**ZIPF_EXPONENT) for rank in range(1, keys + 1)]
    drawn = random.Random(_SEED)  # noqa: S311 - a repeatable stream, no secret
    return drawn.choices(range(keys), weights, k=calls)


def _remove(env: Env, namespace: str) -> int:
    """Delete the namespace's values. Return how many keys are there after it."""
    env.redis.delete(keys.state(namespace))
    pattern = keys.value(namespace, "*")
    found = list(env.redis.scan_iter(match=pattern, count=1000))
    for start in range(0, len(found), 1000):
        env.redis.delete(*found[start : start + 1000])
    return sum(1 for _ in env.redis.scan_iter(match=pattern, count=1000))


def _loading(cache: TieredCache, call: Call) -> Callable[[], Any]:
    number = cast("int", call.args[1])
    return lambda: cache.load(call, lambda: _value(number))


def _call(area: str, number: int) -> Call:
    return canonical((area, number), {})


def _value(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"user {number}", "scores": list(range(20)), "active": True}


def _quantiles(prefix: str, took: list[float], note: str = "") -> Iterator[Figure]:
    counted = f"{len(took)} measured" + (f"; {note}" if note else "")
    yield judge(f"{prefix}.p50_s", timing.quantile(took, 0.5), counted)
    yield judge(f"{prefix}.p99_s", timing.quantile(took, 0.99))
    yield fact(f"{prefix}.max_s", max(took), "s")
