"""A dead or frozen Redis costs one call 50 ms at most, the others nothing, and is back in 2 s.

A cache asks a real server, which is then killed, or stopped with SIGSTOP. Keys that memory holds
and keys that nobody has are asked for in turn, every 2 ms: the *first* call is the slowest of those
that begin before the cache knows. The *later* ones are all that follow: hits, and misses with a
loader that returns at once, each the median of its kind in a run. What a miss costs over one of a
cache that has no Redis at all, its twin in the same run, is what the outage costs. Then the server
comes back, and *recovery* is the time until a value written here is read there. Beside it redis-py,
as it comes and without its retries, reads the same server; the wait for it is capped.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from benchmarks import harness
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from outrider.cache.calls import Call

WAYS = ("killed", "frozen")
HELD = [canonical(("held", number), {}) for number in range(100)]
AWAY_S = 2.0
PAUSE_S = 0.002
LATER = 2000
CAP_S = 70.0
QUICK_CAP_S = 8.0


@dataclass
class Outage:
    """What one outage cost, in seconds."""

    first: list[float] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    misses: list[float] = field(default_factory=list)
    twins: list[float] = field(default_factory=list)  # misses of a cache without Redis
    recovery: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)


def main() -> None:
    options = harness.options(__doc__ or "")
    runs = 2 if options.quick else 7
    seen = {way: [outage(way) for _ in range(runs)] for way in WAYS}
    figures: dict[str, Any] = {}
    for way, each in seen.items():
        firsts = [took for one in each for took in one.first]
        hits = [statistics.median(one.hits) for one in each]
        misses = [statistics.median(one.misses) for one in each]
        twins = [statistics.median(one.twins) for one in each]
        over = [max(0.0, one - twin) for one, twin in zip(misses, twins, strict=True)]
        figures[f"first_call_ms_{way}"] = harness.spread([1000 * took for took in firsts], 3)
        figures[f"later_hit_us_{way}"] = harness.spread([1e6 * took for took in hits], 2)
        figures[f"later_miss_us_{way}"] = harness.spread([1e6 * took for took in misses], 2)
        figures[f"memory_only_miss_us_{way}"] = harness.spread([1e6 * t for t in twins], 2)
        figures[f"later_miss_over_memory_us_{way}"] = harness.spread([1e6 * t for t in over], 2)
        recoveries = [took for one in each for took in one.recovery]
        figures[f"recover_s_{way}"] = harness.spread(recoveries, 3)
        figures[f"loop_held_up_ms_{way}"] = harness.spread(
            [1000 * took for one in each for took in one.loop], 2
        )
    figures["first_call_ms"] = max(figures[f"first_call_ms_{way}"]["max"] for way in WAYS)
    # Over memory alone: a whole hit, or what a miss costs more than without Redis; the worst.
    figures["later_call_us"] = max(
        figures[f"later_{kind}_us_{way}"]["median"]
        for kind in ("hit", "miss_over_memory")
        for way in WAYS
    )
    figures["recover_s"] = max(figures[f"recover_s_{way}"]["max"] for way in WAYS)
    cap_s = QUICK_CAP_S if options.quick else CAP_S
    peers = {f"redis_py_{name}_{way}_s": peer(way, name, cap_s) for way in WAYS for name in PEERS}
    harness.finish("cache_outage", figures, peers | {"cap_s": cap_s})


def outage(way: str) -> Outage:
    """Measure one outage, on a server and a cache of its own."""
    found = Outage()
    with Server() as server:
        remote = RedisTier(server.url)
        cache = TieredCache("bench", ttl_s=600, codec=Codec("bench"), remote=remote)
        twin = TieredCache("bench", ttl_s=600, codec=Codec("bench"))
        try:
            for call in HELD:
                cache.load(call, value)
            stop(server, way)
            ask_until_known(cache, found)
            time.sleep(AWAY_S)
            for number in range(LATER):
                found.hits.append(timed(cache, HELD[number % 100]))
            for number in range(LATER):
                call = canonical(("later", number), {})
                found.misses.append(timed(cache, call))
                found.twins.append(timed(twin, call))
            found.loop.append(asyncio.run(loop_held_up(cache)))
            back_s = resume(server, way)
            found.recovery.append(recovered(cache, server) - back_s)
        finally:
            remote.close()
    return found


def ask_until_known(cache: TieredCache, found: Outage) -> None:
    """Ask until the cache knows that Redis is away; the slowest call is the first affected."""
    slowest, number = 0.0, 0
    while not cache.is_away:
        call = canonical(("first", number), {})
        slowest = max(slowest, timed(cache, call))
        number += 1
        time.sleep(PAUSE_S)
    found.first.append(slowest)


async def loop_held_up(cache: TieredCache) -> float:
    """Return for how long the event loop was not served while a hundred calls missed."""
    longest, ended = 0.0, False

    async def load() -> str:
        return "value"

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not ended:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    for number in range(100):
        await cache.load_async(canonical(("loop", number), {}), load)
    ended = True
    await watching
    return longest


def recovered(cache: TieredCache, server: Server) -> float:
    """Return when a value that is written through the cache has reached the server."""
    with redis.Redis.from_url(server.url) as client:
        number = 0
        while True:
            number += 1
            cache.set(f"recovered {number}", "value")
            if client.exists(f"or:cache:v:bench:recovered {number}"):
                return time.monotonic()
            time.sleep(PAUSE_S)


def stop(server: Server, way: str) -> None:
    server.kill() if way == "killed" else server.freeze()


def resume(server: Server, way: str) -> float:
    """Bring the server back. Return when it could answer."""
    server.start() if way == "killed" else server.thaw()
    return time.monotonic()


def timed(cache: TieredCache, call: Call) -> float:
    """Return how long a call takes; its loader returns at once."""
    start = time.perf_counter()
    cache.load(call, value)
    return time.perf_counter() - start


def value() -> str:
    return "value"


PEERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "without_retries": {"retry": Retry(NoBackoff(), 0)},
}


def peer(way: str, name: str, cap_s: float) -> list[float | str]:
    """Return how long the first two GETs of redis-py take, or that it was longer than the cap."""
    with Server() as server:
        client = redis.Redis(port=server.port, **PEERS[name])
        client.get("key")
        stop(server, way)
        ended: list[float | str] = []

        def ask() -> None:
            for _ in range(2):
                start = time.perf_counter()
                with contextlib.suppress(redis.RedisError):
                    client.get("key")
                ended.append(round(time.perf_counter() - start, 4))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(cap_s)
        return list(ended) or [f"more than {cap_s:g}"]


if __name__ == "__main__":
    main()
