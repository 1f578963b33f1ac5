"""The memory tier: what a hit costs, and how often it hits on real traces.

``hit_ns``: a hit of ``@outrider.cached`` on a function of one argument, beside the decorators of
the standard library and of others: processor time of the calling thread, 1,000 text keys, values of
200 characters, the loop around it taken off. Hits are counted and the policy learns all the while;
``hit_process_ns`` adds what that costs in the background. ``gap_closed``: the hit ratio over every
trace in DIR/traces at 1, 5 and 20 per cent of its distinct keys, as the share of the gap between
LRU and Belady's optimum that is closed, on average; get, then set on a miss. ``curve_error``: the
miss-ratio curve sampled in the same runs against LRU itself, in points.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

import outrider
from benchmarks.cache_policies import POLICIES
from benchmarks.harness import finish, options, spread
from outrider.cache.memory import MemoryCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SIZES = (0.01, 0.05, 0.20)
KEYS = [f"key:{number}" for number in range(1000)]
VALUE = "x" * 200
CAPACITY = 2000
QUICK_REQUESTS = 100_000
TWICE = 2.0


def ours(keys: list[int], capacity: int) -> tuple[float, dict[float, float]]:
    """Return the hit ratio of our cache, and what its curve says LRU would miss."""
    cache = MemoryCache(capacity)
    get, keep, missing = cache.get, cache.set, object()
    hits = 0
    for key in keys:
        if get(key, missing) is missing:
            keep(key, key)
        else:
            hits += 1
    curve = cache.curve
    return hits / len(keys), {
        factor: curve.at(capacity * factor, len(keys)) for factor in (1.0, TWICE)
    }


def one_size(path: Path, share: float, limit: int | None) -> dict[str, Any]:
    """Return the hit ratios of one trace at one size, in per cent."""
    keys = np.load(path)["k"][:limit].tolist()
    capacity = max(1, int(len(set(keys)) * share))
    mine, curve = ours(keys, capacity)
    ratios = {"ours": mine} | {name: run(keys, capacity) for name, run in POLICIES.items()}
    exact = {1.0: ratios["LRU"], TWICE: POLICIES["LRU"](keys, int(capacity * TWICE))}
    gap = ratios["Belady"] - ratios["LRU"]
    closed = {name: (ratio - ratios["LRU"]) / gap for name, ratio in ratios.items()} if gap else {}
    return {
        "trace": path.stem,
        "capacity": capacity,
        "hit_percent": {name: round(100 * ratio, 2) for name, ratio in ratios.items()},
        "gap_closed": {name: round(share, 4) for name, share in closed.items()},
        "curve_error": [round(100 * abs(1 - exact[at] - curve[at]), 2) for at in exact],
    }


def all_sizes(folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Run every trace at every size, two at a time."""
    paths = [path for path in sorted(folder.glob("*.npz")) if "k" in np.load(path)]
    limit = QUICK_REQUESTS if quick else None
    rows = []
    with ProcessPoolExecutor(2) as pool:
        waiting = [pool.submit(one_size, path, share, limit) for path in paths for share in SIZES]
        for each in waiting:
            row = each.result()
            rows.append(row)
            closed = row["gap_closed"]
            print(f"{row['trace']:20s} {row['capacity']:7d} {row['hit_percent']}", file=sys.stderr)
            print(f"{'':28s} closed {closed} curve {row['curve_error']}", file=sys.stderr)
    return rows


def per_call(run: Callable[[str], Any]) -> float:
    """Return nanoseconds of this thread for one call, once over all keys."""
    start = time.thread_time_ns()
    for key in KEYS:
        run(key)
    return (time.thread_time_ns() - start) / len(KEYS)


def rounds(runs: dict[str, Callable[[str], Any]], count: int) -> dict[str, dict[str, float]]:
    """Take turns, so that a busy moment hits all alike; take off the cost of the loop."""
    for run in runs.values():
        per_call(run)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    loops = []
    for _ in range(count):
        loops.append(statistics.median(per_call(_nothing) for _ in range(20)))
        for name, run in runs.items():
            taken[name].append(statistics.median(per_call(run) for _ in range(20)))
    # What is left of `_nothing` is the call itself, which belongs to what is called.
    loop = statistics.median(loops) - _call_ns()
    return {name: spread([value - loop for value in values], 1) for name, values in taken.items()}


def _nothing(_key: str) -> None:
    pass


def _call_ns() -> float:
    """Return what a call of an empty function adds to an empty loop."""
    with_call = min(per_call(_nothing) for _ in range(50))
    bare = []
    for _ in range(50):
        start = time.thread_time_ns()
        for _key in KEYS:
            pass
        bare.append((time.thread_time_ns() - start) / len(KEYS))
    return with_call - min(bare)


def load(key: str) -> str:
    return VALUE + key[:0]


async def load_async(key: str) -> str:
    return VALUE + key[:0]


def load_two(key: str, language: str = "en") -> str:
    return VALUE + key[:0] + language[:0]


def decorated() -> dict[str, Callable[[str], Any]]:
    """Return a cached function of every maker that is installed."""
    found: dict[str, Callable[[str], Any]] = {
        "outrider": outrider.cached(ttl_s=3600, capacity=CAPACITY, namespace="bench")(load),
        "outrider, two arguments": outrider.cached(
            ttl_s=3600, capacity=CAPACITY, namespace="bench.two"
        )(load_two),
        "functools.lru_cache": functools.lru_cache(CAPACITY)(load),
    }
    if cachebox := _installed("cachebox"):
        found["cachebox"] = cachebox.cached(cachebox.TTLCache(CAPACITY, 3600))(load)
    if cachetools := _installed("cachetools"):
        found["cachetools"] = cachetools.cached(cachetools.TTLCache(CAPACITY, 3600))(load)
    if moka := _installed("moka_py"):
        found["moka-py"] = moka.cached(maxsize=CAPACITY, ttl=3600)(load)
    return found


def objects() -> dict[str, Callable[[str], Any]]:
    """Return get and set of plain caches, on keys that are there."""
    mine = MemoryCache(CAPACITY)
    lasting = MemoryCache(CAPACITY)
    found: dict[str, Callable[[str], Any]] = {
        "get": mine.get,
        "set": lambda key: mine.set(key, VALUE),
        "get with ttl": lasting.get,
        "set with ttl": lambda key: lasting.set(key, VALUE, 3600),
    }
    for key in KEYS:
        mine.set(key, VALUE)
        lasting.set(key, VALUE, 3600)
    if cachetools := _installed("cachetools"):
        theirs = cachetools.TTLCache(CAPACITY, 3600)
        found["cachetools TTL get"] = theirs.get
        found["cachetools TTL set"] = lambda key: theirs.__setitem__(key, VALUE)
    if cachebox := _installed("cachebox"):
        box = cachebox.VTTLCache(CAPACITY)
        found["cachebox VTTL get"] = box.get
        found["cachebox VTTL set"] = lambda key: box.insert(key, VALUE, 3600)
    return found


def new_keys(count: int) -> float:
    """Return nanoseconds to set a key that is new, in a full cache: one is evicted."""
    cache = MemoryCache(CAPACITY)
    numbers: Iterable[int] = range(count + CAPACITY)
    start = 0
    for number in numbers:
        if number == CAPACITY:
            start = time.thread_time_ns()
        cache.set(number, VALUE)
    return (time.thread_time_ns() - start) / count


def awaited(count: int) -> dict[str, dict[str, float]]:
    """Return nanoseconds to await a hit of a coroutine function, and one that does nothing."""
    cached = outrider.cached(ttl_s=3600, capacity=CAPACITY, namespace="bench.async")(load_async)

    async def over(run: Callable[[str], Any]) -> float:
        start = time.thread_time_ns()
        for key in KEYS:
            await run(key)
        return (time.thread_time_ns() - start) / len(KEYS)

    async def main() -> dict[str, dict[str, float]]:
        await over(cached)
        pairs = [(await over(cached), await over(load_async)) for _ in range(20 * count)]
        hit, bare = zip(*pairs, strict=True)
        return {"hit": spread(hit, 1), "plain coroutine": spread(bare, 1)}

    return asyncio.run(main())


def in_process(seconds: float) -> float:
    """Return nanoseconds of the whole process a hit, the counting in the background included."""
    cached = outrider.cached(ttl_s=3600, capacity=CAPACITY, namespace="bench.process")(load)
    per_call(cached)
    before = cached.stats()["hits"]
    start, until_s = time.process_time_ns(), time.monotonic() + seconds
    turns = 0
    while time.monotonic() < until_s:
        per_call(cached)
        turns += 1
    taken = time.process_time_ns() - start
    counted = cached.stats()["hits"] - before
    assert counted == turns * len(KEYS), f"{turns * len(KEYS)} hits, {counted} counted"
    return taken / counted


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: pip install {name}", file=sys.stderr)
        return None


def main() -> None:
    chosen = options("Hit cost and hit ratio of the memory tier.", needs="traces")
    count = 3 if chosen.quick else 9
    hits = rounds(decorated(), count)
    plain = rounds(objects(), count)
    fresh = spread([new_keys(20_000) for _ in range(count)], 1)
    coroutines = awaited(count)
    process_ns = in_process(2.2 if chosen.quick else 5.5)
    rows = all_sizes(chosen.data / "traces", quick=chosen.quick)
    judged = [row for row in rows if row["gap_closed"]]

    def mean(name: str) -> float:
        return round(statistics.fmean(row["gap_closed"][name] for row in judged), 4)

    finish(
        "cache_memory",
        {
            "hit_ns": hits["outrider"]["median"],
            "gap_closed": mean("ours"),
            "hit": hits["outrider"],
            "hit_two_arguments": hits["outrider, two arguments"],
            "hit_process_ns": round(process_ns, 1),
            "hit_async": coroutines["hit"],
            "get": plain["get"],
            "get_with_ttl": plain["get with ttl"],
            "set": plain["set"],
            "set_with_ttl": plain["set with ttl"],
            "set_new_and_evict": fresh,
            "curve_error": {
                "mean": round(statistics.fmean(e for row in rows for e in row["curve_error"]), 2),
                "max": max(e for row in rows for e in row["curve_error"]),
            },
            "traces": rows,
        },
        {
            "hit": {name: each for name, each in hits.items() if not name.startswith("outrider")},
            "plain coroutine": coroutines["plain coroutine"],
            "object": {name: each for name, each in plain.items() if name.startswith("cache")},
            "gap_closed": {name: mean(name) for name in POLICIES},
        },
    )


if __name__ == "__main__":
    main()
