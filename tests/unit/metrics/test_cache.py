from __future__ import annotations

import math

from outrider.metrics import cache
from outrider.metrics.cache import CacheCollector


def told(bot: str, hits: float, misses: float, namespace: str = "users") -> dict[str, float]:
    prefix = f"bot.{bot}.cache.{namespace}."
    return {
        f"{prefix}hits_total": hits, f"{prefix}misses_total": misses, f"{prefix}hit_ratio": 0.5,
        f"{prefix}capacity": 9.0, f"bot.{bot}.rss_bytes": 5.0,
    }  # fmt: skip


def test_bots_are_added_up_and_the_share_is_of_the_tick() -> None:
    collector = CacheCollector()
    first = collector.collect(told("a", 100, 100) | told("b", 10, 10))
    second = collector.collect(told("a", 109, 100) | told("b", 10, 11))

    assert (first["cache.users.hits_total"], first["cache.users.misses_total"]) == (110.0, 110.0)
    assert math.isnan(first["cache.users.hit_ratio"])
    assert second == {
        "cache.users.hits_total": 119.0, "cache.users.misses_total": 111.0,
        "cache.users.hit_ratio": 0.9,
    }  # fmt: skip


def test_a_bot_that_began_anew_takes_nothing_away() -> None:
    collector = CacheCollector()
    collector.collect(told("a", 100, 0) | told("b", 50, 0))
    values = collector.collect(told("a", 3, 1) | told("b", 50, 0))

    assert values["cache.users.hits_total"] == 153.0
    assert values["cache.users.hit_ratio"] == 0.75


def test_a_tick_without_calls_has_the_same_names() -> None:
    collector = CacheCollector()
    first, second = collector.collect(told("a", 5, 5)), collector.collect(told("a", 5, 5))
    gone = collector.collect({})

    assert first.keys() == second.keys() == gone.keys()
    assert math.isnan(second["cache.users.hit_ratio"])
    assert gone["cache.users.hits_total"] == 5.0


def test_namespaces_are_told_apart_and_bounded() -> None:
    values: dict[str, float] = {}
    for number in range(cache.MOST_NAMESPACES + 5):
        values |= told("a", 1, 1, f"ns.{number}")
    collector = CacheCollector()
    collector.collect(values)

    assert len(collector.collect(values)) == 3 * cache.MOST_NAMESPACES
