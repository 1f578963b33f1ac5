"""An invalidation is seen in other processes within a millisecond; a hit in memory stays a hit.

Three processes hold a key in memory. A fourth invalidates it, and each of the three notes on the
machine's monotonic clock, which all processes share, when its memory was told. Latency is from
before the call that invalidates to after memory forgot: of every process and every invalidation,
and of the last of the three. Done by key, by tag and by namespace, on the embedded Valkey and,
where redis-server is installed, on Redis, with tracking and with the fall-back to channels.

Beside it: a hit in memory under tracking, redis-py's client-side caching, which asks for Redis 7.4
and refuses Valkey, and a plain GET. Where redis-py's can't run, its own words say why.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from benchmarks import harness
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.workers import valkey
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS = 3
CALL = canonical((1,), {})
TAG = "all"
HITS = 20_000
PAUSE_S = 0.003
PATIENT_S = 5.0


def main() -> None:
    if sys.argv[1:2] == ["reader"]:
        read(sys.argv[2])
        return
    options = harness.options(__doc__ or "")
    count, runs = (100, 2) if options.quick else (300, 5)
    figures: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    for name, server in SERVERS.items():
        with server() as url:
            if url is None:
                peers[name] = "not installed"
                continue
            for how in ("tracking", "channels"):
                at = url if how == "tracking" else without_tracking(url)
                for kind in ("key", "tag", "namespace"):
                    every = [latencies(at, kind, count) for _ in range(runs)]
                    figures[f"{name}_{how}_{kind}_ms"] = summary(every)
            figures[f"{name}_hit_us"] = harness.spread([hit_us(url) for _ in range(runs)], 3)
            peers[f"{name}_redis_py_get_us"] = harness.spread([get_us(url) for _ in range(runs)], 2)
            peers[f"{name}_redis_py_client_side_hit_us"] = client_side(url, runs)
    figures["invalidate_p99_ms"] = figures["valkey_tracking_key_ms"]["p99"]["median"]
    harness.finish("cache_coherence", figures, peers)


def latencies(url: str, kind: str, count: int) -> dict[str, float]:
    """Return quantiles in ms over so many invalidations, of each reader and of the last."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cache_coherence", "reader", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(READERS)
    ]
    cache = cache_at(url)
    every: list[float] = []
    last: list[float] = []
    try:
        for _ in range(count):
            cache.set(CALL.key, "value")
            for reader in readers:
                tell(reader, "hold")
            for reader in readers:
                hear(reader)
            time.sleep(PAUSE_S)
            start = time.monotonic_ns()
            if kind == "key":
                cache.invalidate(CALL.key)
            elif kind == "tag":
                cache.invalidate_tag(TAG)
            else:
                cache.invalidate_namespace()
            for reader in readers:
                tell(reader, "when")
            took = [(int(hear(reader)) - start) / 1e6 for reader in readers]
            every += took
            last.append(max(took))
    finally:
        close(cache)
        for reader in readers:
            reader.kill()
            reader.communicate()
    return {
        "p50": quantile(every, 0.5),
        "p99": quantile(every, 0.99),
        "max": max(every),
        "last_of_three_p99": quantile(last, 0.99),
    }


def read(url: str) -> None:
    """Hold the key when told to, and say when it was forgotten."""
    cache = cache_at(url)
    told: list[int] = []

    def noting(work: Callable[..., None]) -> Callable[..., None]:
        def noted(*arguments: Any) -> None:
            had = cache.memory.get(CALL.key) is not None
            work(*arguments)
            if had:
                told.append(time.monotonic_ns())

        return noted

    for name in ("told_key", "told_tag", "told_all"):
        setattr(cache, name, noting(getattr(cache, name)))
    for line in sys.stdin:
        if line.strip() == "hold":
            while cache.memory.get(CALL.key) is None:
                cache.load(CALL, lambda: "value")
            time.sleep(PAUSE_S / 2)  # word of the write itself may still come
            while cache.memory.get(CALL.key) is None:
                cache.load(CALL, lambda: "value")
            told.clear()
            say("held")
        else:
            while not told:
                time.sleep(0.0005)
            say(str(told[0]))


def cache_at(url: str) -> TieredCache:
    remote = RedisTier(url, timeout_s=PATIENT_S)
    return TieredCache("bench", ttl_s=600, codec=Codec("bench"), remote=remote, tags=(TAG,))


def close(cache: TieredCache) -> None:
    cache._remote.close()  # type: ignore[union-attr]  # noqa: SLF001 - the benchmark made it


def hit_us(url: str) -> float:
    """Return what a hit costs in memory that is told of changes, in us of this thread's CPU."""
    cache = cache_at(url)
    try:
        cache.load(CALL, lambda: "value")
        load = cache.load
        for _ in range(100):
            load(CALL, missing)
        start = time.thread_time()
        for _ in range(HITS):
            load(CALL, missing)
        return (time.thread_time() - start) / HITS * 1e6
    finally:
        close(cache)


def get_us(url: str) -> float:
    with redis.Redis.from_url(url) as client:
        client.set("plain", "value")
        return per_call_us(lambda: client.get("plain"), HITS // 10)


def client_side(url: str, runs: int) -> Any:
    """Return what redis-py's client-side caching takes for a hit, or why it does not run."""
    from redis.cache import CacheConfig

    try:
        with redis.Redis.from_url(url, protocol=3, cache_config=CacheConfig()) as client:
            client.set("plain", "value")
            client.get("plain")
            took = [per_call_us(lambda: client.get("plain"), HITS // 10) for _ in range(runs)]
            return harness.spread(took, 2)
    except redis.RedisError as error:
        return f"refused: {error}"


def per_call_us(work: Callable[[], Any], count: int) -> float:
    start = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - start) / count * 1e6


def without_tracking(url: str) -> str:
    """Return the address for a user who may not track keys."""
    with redis.Redis.from_url(url) as client:
        execute: Any = client.execute_command
        rights = ("reset", "on", ">bench", "~*", "&*", "+@all", "-client|tracking")
        execute("ACL", "SETUSER", "bench", *rights)
    return url.replace("redis://", "redis://bench:bench@")


@contextmanager
def embedded() -> Iterator[str | None]:
    with Server() as server:
        yield server.url


@contextmanager
def debian() -> Iterator[str | None]:
    """Run the redis-server that is installed, if any."""
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    port = valkey.free_port()
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as folder:
        command = [binary, "--port", str(port), "--save", "", "--dir", folder]
        server = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            while not valkey.answers(url):
                time.sleep(0.02)
            yield url
        finally:
            server.kill()
            server.wait()


SERVERS = {"valkey": embedded, "redis": debian}


def summary(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: harness.spread([run[name] for run in runs], 3) for name in runs[0]}


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def tell(reader: subprocess.Popen[str], word: str) -> None:
    assert reader.stdin is not None
    reader.stdin.write(word + "\n")
    reader.stdin.flush()


def hear(reader: subprocess.Popen[str]) -> str:
    assert reader.stdout is not None
    return reader.stdout.readline().strip()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def missing() -> str:
    raise AssertionError("memory was to hold it")


if __name__ == "__main__":
    main()
