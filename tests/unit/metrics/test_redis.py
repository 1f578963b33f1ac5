from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import redis

from outrider.metrics import redis as redis_metrics
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client
        client.config_set("maxmemory", 0)


def test_a_server_says_how_it_is(client: redis.Redis) -> None:
    first = redis_metrics.collect(client)
    client.set("x", "y" * 1_000_000)
    second = redis_metrics.collect(client)

    assert first["redis.up"] == 1
    assert 0 < first["redis.latency_s"] < 1
    assert second["redis.memory_bytes"] > first["redis.memory_bytes"] + 900_000
    assert second["redis.ops_total"] > first["redis.ops_total"]
    assert first["redis.clients"] >= 1
    assert "redis.memory.used_ratio" not in first


def test_a_server_with_a_limit_says_how_much_of_it_is_used(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1 << 30)

    assert 0 < redis_metrics.collect(client)["redis.memory.used_ratio"] < 0.5


def test_a_server_that_is_away_is_an_error_not_a_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(redis.ConnectionError):
        redis_metrics.collect(connection.connect(f"redis://127.0.0.1:{port}/0"))
