"""redis-py clients, sync and asyncio, on a real Valkey."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.recorder import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_commands_and_pipelines_are_told_by_name(recorder: Recorder, valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        assert recorder.instrument(client) is client
        recorder.instrument(client)
        client.set("user:7", "x")
        assert client.get("user:7") == b"x"
        client.config_get("maxmemory")
        with client.pipeline() as pipeline:
            pipeline.incr("a").incr("a").get("a")
            assert isinstance(pipeline, redis.client.Pipeline)
            assert pipeline.execute() == [1, 2, b"2"]
        client.transaction(lambda pipe: (pipe.multi(), pipe.incr("b")), "b")
        with client.lock("lock"):
            pass
        for _ in range(2):
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                client.lpush("user:7", "y")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"), client.pipeline() as pipeline:
            pipeline.lpush("user:7", "y").execute()

    timed = recorder.timed("redis")
    assert timed.pop("redis.evalsha", 1)  # the lock's
    assert timed.pop("redis.script_load", 1)
    assert timed == {
        "redis.set": 2, "redis.get": 1, "redis.config_get": 1, "redis.lpush": 2,
        "redis.pipeline": 3,
    }  # fmt: skip
    assert recorder.counted("redis.pipeline") == {
        "redis.pipeline.commands": 5, "redis.pipeline.errors": 1,
    }  # fmt: skip
    assert recorder.counted("redis.lpush") == {"redis.lpush.errors": 2}
    assert recorder.counters["redis.errors.ResponseError"] == 3
    assert recorder.counted("instrument") == {}


def test_an_asyncio_client_tells_the_same(recorder: Recorder, valkey_url: str) -> None:
    async def use() -> None:
        async with redis.asyncio.Redis.from_url(valkey_url) as client:
            recorder.instrument(client)
            await client.set("a", 1)
            async with client.pipeline() as pipeline:
                pipeline.incr("a")
                pipeline.incr("a")
                assert await pipeline.execute() == [2, 3]
            with pytest.raises(redis.ResponseError):
                await client.lpush("a", "y")
            call: asyncio.Future[Any] = asyncio.ensure_future(client.blpop(["never"], 30))
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(use())

    assert recorder.timed("redis") == {
        "redis.set": 1, "redis.pipeline": 1, "redis.lpush": 1, "redis.blpop": 1,
    }  # fmt: skip
    assert recorder.counters == {
        "redis.pipeline.commands": 2, "redis.lpush.errors": 1, "redis.errors.ResponseError": 1,
        "redis.blpop.cancelled": 1,
    }  # fmt: skip


def test_a_server_that_is_away_is_an_error_by_type(recorder: Recorder) -> None:
    with redis.Redis(port=9, retry=Retry(NoBackoff(), 0)) as client:
        recorder.instrument(client)
        with pytest.raises(redis.ConnectionError):
            client.ping()

    assert recorder.counters == {"redis.ping.errors": 1, "redis.errors.ConnectionError": 1}


def test_commands_beyond_the_most_share_one_name(recorder: Recorder, valkey_url: str) -> None:
    with recorder.instrument(redis.Redis.from_url(valkey_url)) as client:
        for number in range(60):
            with pytest.raises(redis.ResponseError):
                client.execute_command(f"STRANGE{number}")

    assert len(recorder.timed("redis")) == 41
    assert recorder.timed("redis.other") == {"redis.other": 20}
