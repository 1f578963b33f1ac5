from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from outrider.metrics import redis as redis_metrics
from outrider.metrics.redis import RedisCollector, RedisServers
from outrider.settings import RedisSettings
from outrider.store import connection
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("slowlog-log-slower-than", 10_000)
        client.acl_deluser("watcher")


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


def test_what_it_does_is_told(client: redis.Redis) -> None:
    client.set("a", 1)
    client.set("b", 2, ex=1000)
    before = redis_metrics.collect(client)
    client.get("a")
    client.get("nothing")
    after = redis_metrics.collect(client)

    assert (after["redis.keys"], after["redis.keys.expiring"]) == (2.0, 1.0)
    for name in ("redis.hits_total", "redis.misses_total"):
        assert after[name] == before[name] + 1
    assert after["redis.net.sent_bytes_total"] > before["redis.net.sent_bytes_total"]
    assert after["redis.memory.peak_bytes"] >= after["redis.memory_bytes"] > 0
    assert after["redis.persistence.rdb_ok"] == 1.0
    assert after["redis.latency_s"] == round(after["redis.latency_s"], 6)


def test_slow_commands_are_counted_even_when_their_log_was_emptied(client: redis.Redis) -> None:
    before = redis_metrics.collect(client)["redis.slowlog_total"]
    client.config_set("slowlog-log-slower-than", 0)  # everything is slow
    for _ in range(5):
        client.ping()
    client.config_set("slowlog-log-slower-than", -1)
    full = redis_metrics.collect(client)
    client.slowlog_reset()
    client.config_set("slowlog-log-slower-than", 0)
    client.ping()
    client.config_set("slowlog-log-slower-than", -1)
    emptied = redis_metrics.collect(client)

    assert full["redis.slowlog_total"] >= before + 5
    assert full["redis.slowlog.length"] >= 5
    assert emptied["redis.slowlog_total"] > full["redis.slowlog_total"]
    assert emptied["redis.slowlog.length"] < full["redis.slowlog.length"]


@pytest.mark.parametrize(
    ("allowed", "expected", "missing"),
    [
        (["+ping", "+info"], "redis.memory_bytes", "redis.slowlog.length"),
        (["+ping", "+slowlog|len"], "redis.slowlog.length", "redis.memory_bytes"),
        ([], "redis.latency_s", "redis.memory_bytes"),
    ],
)
def test_what_may_not_be_asked_is_left_out_and_seldom_asked_again(
    client: redis.Redis, valkey_url: str, allowed: list[str], expected: str, missing: str
) -> None:
    execute: Any = client.execute_command
    execute("ACL", "SETUSER", "watcher", "on", ">secret", "-@all", *allowed)
    execute("ACL", "LOG", "RESET")
    with connection.connect(valkey_url.replace("://", "://watcher:secret@")) as watching:
        collector = RedisCollector(watching)
        for look in range(redis_metrics.ASK_AGAIN_AFTER + 1):
            values = collector.collect(float(look))

    assert values["redis.up"] == 1.0
    assert expected in values
    assert missing not in values
    log: list[Any] = client.acl_log()
    asked = [entry for entry in log if entry["object"] != "ping"]
    assert all(int(entry["count"]) <= 2 for entry in asked)


def test_a_replica_says_how_far_it_is_behind() -> None:
    with (
        Server() as first,
        Server() as second,
        connection.connect(first.url) as leader,
        connection.connect(second.url) as replica,
    ):
        replica.replicaof("127.0.0.1", str(first.port))
        deadline = time.monotonic() + 20
        while replica.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
        values, behind = redis_metrics.collect(leader), redis_metrics.collect(replica)

    assert values["redis.replication.replicas"] == 1.0
    assert values["redis.replication.lag_bytes"] >= 0
    assert behind["redis.replication.up"] == 1.0
    assert behind["redis.replication.silent_s"] >= 0


def servers(**urls: str) -> RedisServers:
    return RedisServers(
        RedisSettings.model_validate({"name": name, "url": url}) for name, url in urls.items()
    )


def test_another_server_that_is_away_is_a_state(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    watched = servers(here=valkey_url, gone=f"redis://:hunter2@127.0.0.1:{port}/0")
    values, _ = watched.collect(0.0), watched.collect(10.0)

    assert values["redis.server.gone.up"] == 0.0
    assert values["redis.server.here.up"] == 1.0
    assert values["redis.server.here.memory_bytes"] > 0
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text


def test_another_server_that_hangs_holds_up_nobody() -> None:
    with Server() as server:
        watched = servers(frozen=server.url)
        assert watched.collect(0.0)["redis.server.frozen.up"] == 1.0
        server.freeze()
        start_s = time.monotonic()
        assert watched.collect(10.0) == {"redis.server.frozen.up": 0.0}
        assert time.monotonic() - start_s < redis_metrics.OTHERS_TIMEOUT_S + 2
        server.thaw()
        deadline = time.monotonic() + 20
        while watched.collect(20.0)["redis.server.frozen.up"] == 0.0:
            assert time.monotonic() < deadline


def test_facts_of_a_server_that_says_little_are_few() -> None:
    assert redis_metrics.facts({"used_memory": 5}, 0.0) == {
        "memory_bytes": 5.0, "keys": 0.0, "keys.expiring": 0.0,
    }  # fmt: skip
