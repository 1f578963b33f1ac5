from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache import coldstart, keys, loaders, usage
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.inbot import InBot
from outrider.cache.loaders import Loader
from outrider.cache.patterns import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

NOW_S = 1_700_000_000.0


class Bot:
    """A process with one cached function, as far as loads ahead are concerned."""

    def __init__(self, client: redis.Redis, clock: Any, function: Any, namespace: str) -> None:
        self.recorder = Recorder(client, clock=clock, flush_s=3600)
        self.loader = Loader(f"bot:{namespace}", function, namespace, 60.0, lambda: Codec("f"))
        loaders.register(self.loader)
        self.use = self.recorder.namespace(namespace, loader=self.loader.name, ttl_s=60)
        self.inbot = InBot(client, lambda: [self.use], clock=clock)

    def used(self, *args: Any) -> str:
        call = canonical(args, {})
        self.use.touch(call, NOW_S)
        self.recorder.flush()
        return call.key


@pytest.fixture
def make(client: redis.Redis, clock: Any) -> Iterator[Any]:
    made: list[Bot] = []

    def build(function: Any, namespace: str) -> Bot:
        made.append(Bot(client, clock, function, namespace))
        return made[-1]

    yield build
    for bot in made:
        bot.recorder.close()


def test_a_bot_loads_what_is_due_and_leaves_the_rest(
    make: Any, client: redis.Redis, clock: Any
) -> None:
    bot = make(lambda number: {"number": number}, "due")
    now, later = bot.used(1), bot.used(2)
    client.zadd(keys.due("due"), {now: NOW_S - 1, later: NOW_S + 5})
    assert bot.inbot.step() == 1
    assert client.exists(keys.value("due", now))
    assert not client.exists(keys.value("due", later))
    assert client.zrange(keys.due("due"), 0, -1) == [later.encode()]
    assert usage.tally(client, "due", NOW_S).warmed == 1
    clock.advance(5)
    assert bot.inbot.step() == 1


def test_what_was_due_long_ago_is_dropped(make: Any, client: redis.Redis) -> None:
    bot = make(lambda number: number, "old")
    client.zadd(keys.due("old"), {bot.used(1): NOW_S - 31})
    assert bot.inbot.step() == 0
    assert not client.exists(keys.due("old"))


def test_of_two_processes_one_loads(make: Any, client: redis.Redis, clock: Any) -> None:
    calls: list[int] = []

    def load(number: int) -> int:
        calls.append(number)
        return number

    bot = make(load, "shared")
    other = InBot(client, lambda: [bot.use], clock=clock)
    client.zadd(keys.due("shared"), {bot.used(1): NOW_S})
    assert bot.inbot.step() + other.step() == 1
    assert calls == [1]


def test_an_asynchronous_loader_runs_in_the_loop_that_its_bot_uses(
    make: Any, client: redis.Redis
) -> None:
    threads: list[str] = []

    async def load(number: int) -> int:
        threads.append(threading.current_thread().name)
        return number

    async def life() -> int:
        bot = make(load, "looped")
        client.zadd(keys.due("looped"), {bot.used(1): NOW_S})
        return await asyncio.to_thread(bot.inbot.step)

    assert asyncio.run(life()) == 1
    assert threads == [threading.current_thread().name]


def test_a_loader_that_fails_is_counted_and_stops_nothing(make: Any, client: redis.Redis) -> None:
    def load(number: int) -> int:
        if number == 1:
            raise LookupError("no such number")
        return number

    bot = make(load, "failing")
    client.zadd(keys.due("failing"), {bot.used(1): NOW_S - 1, bot.used(2): NOW_S})
    assert bot.inbot.step() == 1
    assert bot.inbot.failed == 1


def test_the_hottest_keys_are_those_used_most_by_that_bot(make: Any, client: redis.Redis) -> None:
    bot = make(lambda number: number, "hot")
    for instance, number, times in (("canary", 1, 5), ("canary-2", 2, 9), ("canary-x", 3, 20)):
        bot.use.bot = instance
        for _ in range(times):
            bot.use.touch(canonical((number,), {}), NOW_S)
        bot.recorder.flush()
    assert coldstart.hottest(client, "hot", 2) == ["[3]", "[2]"]
    assert coldstart.hottest(client, "hot", 9, bot="canary") == ["[2]", "[1]"]
