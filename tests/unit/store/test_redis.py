from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from outrider.store import connection, keys, rows
from outrider.store import redis as redis_store
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.samples import Window

HOUR_S = 3600
START_S = 1_700_000_000 // HOUR_S * HOUR_S
TICK = START_S // 10
CHUNK = keys.chunk("h", START_S)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> RedisStore:
    return RedisStore("", client=client)


def values(store: RedisStore) -> list[float]:
    found: list[float] = store.read("h", "a", START_S, START_S + HOUR_S)[1].tolist()
    return found


def fill(store: RedisStore, count: int = 10) -> None:
    for number in range(count):
        store.append("h", TICK + number, {"a": float(number)})


@pytest.mark.parametrize(
    ("field", "row"),
    [("1699999210.0", b""), ("1699999210.0", b"x" * 16), ("nonsense", b"x"), ("nan", b"x")],
)
def test_a_damaged_row_is_skipped_and_counted(
    field: str, row: bytes, store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    client.hset(CHUNK, field, row)

    assert len(values(store)) == 10 - (field[0] == "1")
    assert store.damaged == 1
    last = store.last("h")
    assert last is not None
    assert last.values == {"a": 9.0}


@pytest.mark.parametrize("names", [b"", b"[", b"[1]", b'["a", "b"]', b"\xff", None])
def test_rows_whose_names_are_damaged_are_skipped_and_counted(
    names: bytes | None, store: RedisStore, client: redis.Redis
) -> None:
    fill(store, 5)
    schema_id, _ = rows.schema_of({"a": 0.0})
    if names is None:
        client.delete(f"{CHUNK}:names")
    else:
        client.hset(f"{CHUNK}:names", schema_id, names)
    store.append("h", TICK + 5, {"b": 5.0, "a": 5.0})

    assert values(store) == [5.0]
    assert store.damaged == 5


@pytest.mark.parametrize("block", [b"", b"x" * 100])
def test_a_damaged_hour_is_skipped_and_counted(
    block: bytes, store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    store.append("h", TICK + 360, {"a": 360.0})
    store.seal("h", START_S + 2 * HOUR_S)
    client.set(f"{CHUNK}:sealed", block)

    assert values(store) == []
    assert store.damaged == 1
    assert store.append("h", TICK + 1, {"a": 11.0}) is True
    assert values(store) == [11.0]
    assert store.last("h") is not None
    store.seal("h", START_S + 2 * HOUR_S)
    assert values(store) == [11.0]


def test_a_row_that_comes_while_its_hour_is_sealed_is_not_lost(
    store: RedisStore, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    other, seal = RedisStore(valkey_url), rows.seal

    def late(window: Window) -> bytes:
        other.append("h", TICK + 50, {"a": 50.0})
        return seal(window)

    monkeypatch.setattr(rows, "seal", late)
    store.seal("h", START_S + 2 * HOUR_S)
    monkeypatch.undo()
    store.seal("h", START_S + 2 * HOUR_S)

    assert values(store) == [*map(float, range(10)), 50.0]


def test_a_row_is_read_once_though_it_lies_in_the_sealed_hour_too(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    store.seal("h", START_S + 2 * HOUR_S)
    schema_id, names = rows.schema_of({"a": 0.0})
    client.hset(CHUNK, str(START_S + 30.0), rows.pack(schema_id, {"a": 99.0}))
    client.hset(f"{CHUNK}:names", schema_id, names)

    assert [*map(float, range(10))] == values(store)


def test_names_that_are_sealed_away_between_two_questions_are_asked_for_again(
    store: RedisStore, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    reader = RedisStore(valkey_url)
    sealed: list[int] = []
    known = reader._known

    def seal_first(chunk: str, ids: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        if not sealed:
            sealed.append(store.seal("h", START_S + 2 * HOUR_S))
        return known(chunk, ids)

    monkeypatch.setattr(reader, "_known", seal_first)

    assert [*map(float, range(10))] == values(reader)
    assert sealed == [1]
    assert reader.damaged == 0


def test_an_hour_has_a_time_to_live_from_its_first_row_and_when_it_is_sealed(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    most_s = store.retention_s + 2 * HOUR_S

    for key in (CHUNK, f"{CHUNK}:names", keys.chunks("h")):
        assert most_s - 10 < client.ttl(key) <= most_s
    store.seal("h", START_S + 2 * HOUR_S)
    assert most_s - 2 * HOUR_S - 10 < client.ttl(f"{CHUNK}:sealed") <= most_s - 2 * HOUR_S
    assert {f"{CHUNK}:sealed", keys.chunks("h"), keys.series_hosts()} == {
        key.decode() for key in cast("list[bytes]", client.keys("*"))
    }


def test_tiers_do_not_see_each_other(store: RedisStore, client: redis.Redis) -> None:
    fill(store)
    summaries = RedisStore("", client=client, tier=keys.SUMMARIES)

    assert summaries.hosts() == []
    assert summaries.append("h", TICK, {"x": 1.0}) is True
    assert [*map(float, range(10))] == values(store)


def test_more_schemas_than_are_remembered_are_all_read(store: RedisStore, valkey_url: str) -> None:
    count = 3 * redis_store._SCHEMAS_KEPT
    for number in range(count):
        store.append("h", TICK + number, {"a": float(number), f"s{number}": 0.0})
    reader = RedisStore(valkey_url)

    for _ in range(2):
        assert [*map(float, range(count))] == values(reader)
        assert reader.read("h", "a", START_S, START_S + 100)[1].tolist() == [*map(float, range(10))]
    assert reader.damaged == 0


def test_what_one_thread_forgets_another_does_not_miss(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's threads share a store: here one reads while another is about to use its names."""
    monkeypatch.setattr(redis_store, "_SCHEMAS_KEPT", 0)
    fill(store)
    store.append("h", TICK + 360, {"a": 1.0, "b": 1.0})
    known = store._known

    def interrupted(chunk: str, ids: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        names = known(chunk, ids)
        monkeypatch.setattr(store, "_known", known)
        assert len(store.read("h", "b", START_S + HOUR_S, START_S + HOUR_S + 10)[0]) == 1
        return names

    monkeypatch.setattr(store, "_known", interrupted)

    assert [*map(float, range(10))] == values(store)
    assert store.damaged == 0


def test_an_append_is_one_question_to_the_server(store: RedisStore, client: redis.Redis) -> None:
    fill(store)
    client.config_resetstat()
    store.append("h", TICK + 20, {"a": 1.0})
    called = client.info("commandstats")

    assert called["cmdstat_evalsha"]["calls"] == 1
    # The rest are the script's own.
    assert {"evalsha", "exists", "hsetnx", "hlen", "config|resetstat"} == {
        name.removeprefix("cmdstat_") for name in called
    }
