from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

import outrider
from outrider.cache import shared, warm_up, warm_up_async
from outrider.cache.calls import canonical
from outrider.cache.patterns import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

NOW_S = 1_700_000_000.0


@pytest.fixture
def fleet(
    valkey_url: str, client: redis.Redis, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recorder]:
    """A process that ran before, and left word of what it used."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    recorder = Recorder(client, clock=clock, flush_s=3600)
    yield recorder
    recorder.close()
    shared.close_all()
    gc.collect()


def was_used(recorder: Recorder, namespace: str, counts: dict[int, int]) -> None:
    use = recorder.namespace(namespace, loader=f"{__name__}:f", ttl_s=60)
    for number, count in counts.items():
        use.touch(canonical((number,), {}), NOW_S, count)
    recorder.flush()


def test_a_restarted_bot_has_its_hottest_keys_before_it_is_ready(fleet: Recorder) -> None:
    loaded: list[int] = []

    @outrider.cached(ttl_s=60, namespace="cold.sync")
    def f(number: int) -> int:
        loaded.append(number)
        return number

    was_used(fleet, "cold.sync", {1: 5, 2: 50, 3: 9})
    steps: list[tuple[int, int]] = []
    filled = warm_up("cold.sync", top=2, progress=lambda done, of: steps.append((done, of)))
    assert (filled.done, filled.failed, filled.left) == (2, 0, 0)
    assert sorted(loaded) == [2, 3]
    assert steps[-1] == (2, 2)
    assert f(2) == 2
    assert len(loaded) == 2


def test_an_asynchronous_bot_fills_in_its_own_loop(fleet: Recorder) -> None:
    loops: list[Any] = []

    @outrider.cached(ttl_s=60, namespace="cold.async")
    async def f(number: int) -> int:
        loops.append(asyncio.get_running_loop())
        return number

    async def life() -> Any:
        return await warm_up_async("cold.async"), asyncio.get_running_loop()

    was_used(fleet, "cold.async", {1: 5, 2: 50})
    filled, loop = asyncio.run(life())
    assert filled.done == 2
    assert loops == [loop, loop]
    assert f is not None


def test_what_hangs_is_not_waited_for(fleet: Recorder) -> None:
    ended = threading.Event()

    @outrider.cached(ttl_s=60, namespace="cold.slow")
    def f(number: int) -> int:
        if number == 1:
            ended.wait(30)
        return number

    was_used(fleet, "cold.slow", {1: 5, 2: 3})
    filled = warm_up("cold.slow", within_s=1.0)
    ended.set()
    assert (filled.done, filled.left) == (1, 1)
    assert f is not None


def test_a_loader_that_fails_is_counted(fleet: Recorder) -> None:
    @outrider.cached(ttl_s=60, namespace="cold.broken")
    def f(number: int) -> int:
        raise LookupError(number)

    was_used(fleet, "cold.broken", {1: 5})
    assert warm_up("cold.broken").failed == 1
    assert f is not None


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:1/0", "no address"])
def test_a_bot_starts_cold_when_redis_is_away(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url is None:
        monkeypatch.delenv("OUTRIDER_REDIS_URL", raising=False)
    else:
        monkeypatch.setenv("OUTRIDER_REDIS_URL", url)
    assert warm_up().done == 0
    assert asyncio.run(warm_up_async()).done == 0
