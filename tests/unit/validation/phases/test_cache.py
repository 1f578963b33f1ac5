from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import pytest

from outrider.cache import keys
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.validation.phases import cache

if TYPE_CHECKING:
    from outrider.validation.env import Env
    from outrider.validation.figure import Figure


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Redis more than its 40 ms: a machine that runs tests pauses for longer."""
    monkeypatch.setattr(cache, "RedisTier", functools.partial(RedisTier, timeout_s=5.0))


def measured(env: Env) -> dict[str, Figure]:
    return {figure.name.removeprefix("cache."): figure for figure in cache.run(env)}


def test_both_tiers_misses_and_a_skewed_stream_are_measured(env: Env) -> None:
    figures = measured(env)
    memory, remote = figures["hit_memory.p50_s"].value, figures["hit_redis.p50_s"].value
    assert isinstance(memory, float)
    assert isinstance(remote, float)
    assert 0 < memory < remote
    assert "500 found there" in figures["hit_redis.p50_s"].note
    assert (figures["fallback_ratio"].value, figures["invalidated_ratio"].value) == (0, 1.0)


def test_the_stream_loads_each_key_once_though_memory_holds_a_part_of_them(env: Env) -> None:
    figures = measured(env)
    distinct = len(set(cache.zipf(cache.ZIPF_KEYS, cache.ZIPF_CALLS)))
    assert distinct > cache.ZIPF_CAPACITY
    assert figures["zipf.loads_per_key"].value == 1.0
    assert 1 - distinct / cache.ZIPF_CALLS == figures["zipf.hit_ratio"].value


def test_the_same_stream_is_asked_each_time_and_its_first_keys_most() -> None:
    stream = cache.zipf(1000, 5000)
    assert stream == cache.zipf(1000, 5000)
    assert max(range(1000), key=stream.count) == 0
    assert stream.count(0) > 10 * max(1, stream.count(500))


def test_nothing_is_left_in_redis(env: Env) -> None:
    env.redis.set(keys.value("validation.another", "1"), "theirs")
    assert measured(env)["left_behind"].value == 0
    assert [keys.value("validation.another", "1").encode()] == list(env.redis.scan_iter())


def test_an_invalidation_that_removes_nothing_is_found_out(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TieredCache, "invalidate", lambda _self, _key: None)
    figure = measured(env)["invalidated_ratio"]
    assert (figure.value, figure.passed) == (0.0, False)


def test_a_redis_that_is_away_shows_as_fallbacks_and_still_the_calls_are_served(env: Env) -> None:
    alone = dataclasses.replace(env, redis_url="redis://127.0.0.1:1/0")
    figures = measured(alone)
    assert figures["fallback_ratio"].passed is False
    assert figures["hit_redis.p50_s"].note.endswith("0 found there")
