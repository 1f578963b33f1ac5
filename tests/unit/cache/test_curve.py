from __future__ import annotations

import math
import random
from collections import OrderedDict

import pytest

from outrider.cache.curve import MissRatioCurve
from outrider.cache.memory import MemoryCache


def stream(kind: str) -> list[int]:
    draw = random.Random(kind)
    if kind == "skewed":
        weights = [1 / (rank + 1) ** 0.8 for rank in range(20_000)]
        return draw.choices(range(20_000), weights, k=120_000)
    if kind == "loop":
        return [number % 3000 for number in range(60_000)]
    return [step // 20 + int(draw.expovariate(1 / 400)) for step in range(120_000)]


def lru_misses(keys: list[int], capacity: int) -> float:
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for key in keys:
        if key in held:
            held.move_to_end(key)
            continue
        misses += 1
        if len(held) >= capacity:
            held.popitem(last=False)
        held[key] = None
    return misses / len(keys)


@pytest.mark.parametrize("kind", ["skewed", "loop", "drifting"])
def test_the_curve_is_within_two_points_of_lru_itself(kind: str) -> None:
    keys = stream(kind)
    curve = MissRatioCurve()
    for key in keys:
        curve.see(hash((key,)))
    assert len(curve._last) <= 4096
    for capacity in (100, 300, 1000, 2700, 3300, 8000):
        exact = lru_misses(keys, capacity)
        assert abs(curve.at(capacity, len(keys)) - exact) < 0.02, (capacity, exact)


@pytest.mark.parametrize("kind", ["skewed", "drifting"])
@pytest.mark.parametrize(("factor", "within"), [(0.5, 0.04), (1, 0.02), (2, 0.02)])
def test_a_caches_own_curve_is_within_two_points(kind: str, factor: float, within: float) -> None:
    """It is told of uses late and in batches: what is much smaller than the cache is less sharp."""
    keys, capacity = stream(kind), 1000
    cache = MemoryCache(capacity)
    for key in keys:
        if cache.get(key) is None:
            cache.set(key, 1)
    found = cache.curve.at(capacity * factor, len(keys))
    assert abs(found - lru_misses(keys, int(capacity * factor))) < within


def test_what_more_room_would_give_is_near_what_it_gives() -> None:
    keys = stream("skewed")

    def run(capacity: int) -> tuple[float, MemoryCache]:
        cache, hits = MemoryCache(capacity), 0
        for key in keys:
            if cache.get(key) is None:
                cache.set(key, 1)
            else:
                hits += 1
        return hits / len(keys), cache

    small, cache = run(1000)
    large, _ = run(2000)
    assert cache.hit_ratio_at(1.0) == pytest.approx(small)
    assert small + 0.02 < cache.hit_ratio_at(2.0)
    assert cache.hit_ratio_at(2.0) == pytest.approx(large, abs=0.03)
    assert cache.hit_ratio_at(0.5) < small


def test_before_any_use_nothing_is_known() -> None:
    assert math.isnan(MissRatioCurve().at(100))
    assert math.isnan(MemoryCache(10).hit_ratio_at(2.0))
