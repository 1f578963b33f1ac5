from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from outrider.metrics import frame as frames
from outrider.metrics import gaps
from outrider.metrics.frame import Frame
from outrider.sdk import bot as bots
from outrider.sdk.bot import Bot
from outrider.sdk.transports import ToRedis
from outrider.store import connection, keys
from outrider.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as opened:
        yield opened


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(interval_s=10.0)


def leave(client: redis.Redis, *messages: bytes) -> None:
    client.rpush(keys.missed_frames("h"), *messages)


def fill(client: redis.Redis, store: MemoryStore, now_s: float = 1000.0) -> int:
    return gaps.fill(client, store, "h", interval_s=10.0, now_s=now_s)


def level(bot: str, at_s: float, queue: float) -> bytes:
    return frames.encode(Frame(bot, 1, at_s, gauges={"queue": queue}))


def test_ticks_without_a_row_get_one_of_all_bots(client: redis.Redis, store: MemoryStore) -> None:
    leave(client, level("a", 101, 1), level("a", 108, 2), level("a", 111, 3), level("b", 103, 9))

    assert fill(client, store) == 2
    times_s, queue = store.read("h", "bot.a.queue", 0, 1000)
    assert (times_s.tolist(), queue.tolist()) == ([100, 110], [2, 3])
    assert store.read("h", "bot.b.queue", 0, 1000)[1].tolist() == [9]
    assert store.read("h", "bot.b.up", 0, 1000)[1].tolist() == [1]


def test_a_row_that_is_there_stays(client: redis.Redis, store: MemoryStore) -> None:
    store.append("h", 10, {"host.load.1m": 1.0})
    leave(client, level("a", 101, 1), level("a", 111, 3))

    assert fill(client, store) == 1
    assert store.read("h", "bot.a.queue", 0, 1000)[0].tolist() == [110]


def test_frames_are_let_go_of_once_they_are_kept(client: redis.Redis, store: MemoryStore) -> None:
    leave(client, level("a", 101, 1))

    assert [fill(client, store), fill(client, store)] == [1, 0]
    assert not client.exists(keys.missed_frames("h"))


def test_nothing_is_kept_while_frames_still_come(client: redis.Redis, store: MemoryStore) -> None:
    leave(client, level("a", 101, 1), level("a", 108, 1))

    assert fill(client, store, now_s=117) == 0
    leave(client, level("b", 102, 2))
    assert fill(client, store, now_s=119) == 1
    assert store.read("h", "bot.b.queue", 0, 1000)[1].tolist() == [2]


def test_a_collector_that_is_killed_in_between_loses_nothing(
    client: redis.Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(client, level("a", 101, 1), level("a", 111, 2))
    append = store.append

    def killed(host: str, tick: int, values: Any) -> bool:
        if tick == 11:
            raise SystemExit
        return append(host, tick, values)

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", killed)
        with pytest.raises(SystemExit):
            fill(client, store)

    assert fill(client, store) == 1
    assert store.read("h", "bot.a.queue", 0, 1000)[1].tolist() == [1, 2]


def test_nonsense_fills_nothing_and_is_let_go_of(client: redis.Redis, store: MemoryStore) -> None:
    leave(client, b"nonsense", level("a", 101, 1), frames.encode(Frame("b.c", 1, 101.0)))

    assert fill(client, store) == 1
    assert not client.exists(keys.missed_frames("h"))


def test_a_bot_fills_the_gap_that_redis_left(
    valkey_url: str, client: redis.Redis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bots, "_CURRENT", [])
    monkeypatch.setattr(bots, "FLUSH_S", 3600.0)
    monkeypatch.setenv("OUTRIDER_HOST", "h")
    clock_s, ours = iter((100.0, 101.0, 111.0, 121.0, 131.0)), threading.get_ident()

    def now() -> float:
        # Bots of other tests, which never end, look at the same clock from threads of their own.
        return next(clock_s) if threading.get_ident() == ours else time.time()

    monkeypatch.setattr(bots, "time", SimpleNamespace(**vars(time) | {"time": now}))
    away = ToRedis("redis://127.0.0.1:1/0", "canary")
    bot = Bot("canary", transport=away)
    for queue in (3, 4, 5):
        bot.count("updates")
        bot.gauge("queue", queue)
        bot.flush()
    assert (bot.missed, bot.dropped) == (3, 0)

    away.close()
    away._url = valkey_url
    bot.count("updates")
    bot.flush()
    away.close()
    newest: Any = client.hget(keys.frames("h"), "canary")
    assert frames.decode(newest).counters == {"updates": 4}
    assert bot.missed == 0
    assert client.ttl(keys.missed_frames("h")) > 0
    assert fill(client, store) == 3
    assert store.read("h", "bot.canary.queue", 0, 1000)[1].tolist() == [3, 4, 5]
    assert store.read("h", "bot.canary.updates_total", 0, 1000)[1].tolist() == [1, 2, 3]
