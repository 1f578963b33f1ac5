"""The cache across real processes: one load in the fleet, and nothing older than was told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache import keys
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

PROCESS = Path(__file__).with_name("cache_process.py")
GIVEN = os.environ.get("OUTRIDER_TEST_REDIS_URL")


@pytest.fixture(params=["valkey", *(["given"] if GIVEN else [])])
def url(request: pytest.FixtureRequest) -> str:
    """The server; a given one may hold somebody's data, and is not flushed."""
    return str(GIVEN if request.param == "given" else request.getfixturevalue("valkey_url"))


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with connection.connect(url) as connected:
        yield connected


@pytest.fixture
def namespace(client: redis.Redis) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    found = [*client.scan_iter(match=f"{name}*"), *client.scan_iter(match=f"or:cache:*:{name}*")]
    if found:
        client.delete(*found)


def start(part: str, url: str, namespace: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROCESS), part, url, namespace, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def together(
    client: redis.Redis, namespace: str, processes: list[subprocess.Popen[str]]
) -> list[dict[str, Any]]:
    """Let processes begin at the same time; return what they say in the end."""
    try:
        while int(client.get(f"{namespace}:ready") or 0) < len(processes):
            assert all(process.poll() is None for process in processes)
        client.set(f"{namespace}:go", 1)
        return [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_thousand_concurrent_misses_in_eight_processes_load_once(
    url: str, client: redis.Redis, namespace: str
) -> None:
    processes = [start("flight", url, namespace, "125") for _ in range(8)]
    said = together(client, namespace, processes)
    assert [value for each in said for value in each["got"]] == ["value 1"] * 1000
    assert sum(each["loads"] for each in said) == 1


def test_a_loader_that_dies_is_relieved_by_another_process(
    url: str, client: redis.Redis, namespace: str
) -> None:
    dead = start("hang", url, namespace)
    while not client.exists(f"{namespace}:loading"):
        assert dead.poll() is None
    dead.kill()
    dead.communicate()
    assert client.exists(keys.lease(namespace, '["one"]'))
    said = together(client, namespace, [start("flight", url, namespace, "5") for _ in range(2)])
    assert [value for each in said for value in each["got"]] == ["value 1"] * 10


def check(said: list[dict[str, Any]]) -> None:
    """Check that no read returned less than the truth of the newest word told before it began."""
    meant = {int(number): truth for each in said for number, truth in each["meant"].items()}
    for each in said:
        floors: dict[str, list[int]] = {}
        for key, told in each["told"].items():
            floors[key] = [0]
            for number in told:
                floors[key].append(max(floors[key][-1], meant.get(number, 0)))
        for place, found in each["oldest"].items():
            key, words = place.rsplit(" ", 1)
            assert found >= floors[key][int(words)], f"{key} was read too old"


@pytest.fixture
def untracked_url(url: str, client: redis.Redis) -> Iterator[str]:
    """The server, for a user who may not track keys."""
    rights = ("reset", "on", ">secret", "~*", "&*", "+@all", "-client|tracking")
    execute: Any = client.execute_command
    execute("ACL", "SETUSER", "untracked", *rights)
    yield url.replace("redis://", "redis://untracked:secret@")
    execute("ACL", "DELUSER", "untracked")


@pytest.mark.parametrize("drops", ["steady", "drops", "channels"])
def test_no_read_is_older_than_the_invalidation_that_was_told_before_it_began(
    drops: str, url: str, untracked_url: str, client: redis.Redis, namespace: str
) -> None:
    at = untracked_url if drops == "channels" else url
    processes = [start("stress", at, namespace, str(seed), "3", drops) for seed in range(4)]
    said = together(client, namespace, processes)
    check(said)
    expected = "channels" if drops == "channels" else "tracking"
    assert {each["hears"] for each in said} == {expected}
    assert all(each["settled"] for each in said)
    assert all(each["memory"] > 100 for each in said)
    assert all(len(told) > 3 for each in said for told in each["told"].values())
    assert any(each["connections"] > 1 for each in said) == (drops == "drops")
