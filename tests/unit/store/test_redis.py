from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from outrider.store import chunks, connection, keys, rows, sealing, spans
from outrider.store import schemas as store_schemas
from outrider.store.damage import Damage
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

RANGE_S, CHUNK_S = 600, 7200
START_S = 1_700_000_000 // CHUNK_S * CHUNK_S
TICK = START_S // 10
OVER_S = START_S + CHUNK_S + 10
HEAD, RANGE, CHUNK = (
    keys.piece("h", spans.piece(kind, TICK, 10.0).name)
    for kind in (spans.HEAD, spans.RANGE, spans.CHUNK)
)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> RedisStore:
    return RedisStore("", client=client)


def values(store: RedisStore, series: str = "a") -> list[float]:
    found: list[float] = store.read("h", series, START_S, START_S + CHUNK_S)[1].tolist()
    return found


def pairs(store: RedisStore) -> list[tuple[float, float]]:
    times, numbers = store.read("h", "a", 0, START_S * 2)
    return list(zip(times.tolist(), numbers.tolist(), strict=True))


def fill(store: RedisStore, count: int = 10) -> None:
    for number in range(count):
        store.append("h", TICK + number, {"a": float(number)})


def left(client: redis.Redis) -> set[str]:
    return {key.decode() for key in cast("list[bytes]", client.keys("*"))}


@pytest.mark.parametrize(
    ("field", "row"),
    [(str(TICK + 1), b""), (str(TICK + 1), b"x" * 16), (str(TICK + 1), b"x" * 9)],
)
def test_a_damaged_row_is_skipped_and_counted(
    field: str, row: bytes, store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    client.hset(HEAD, field, row)

    assert len(values(store)) == 9
    assert store.damaged == 1
    assert len(store.window("h", START_S, OVER_S).times_s) == 9
    assert store.damaged == 2
    store.seal("h", OVER_S)
    assert len(values(store)) == 9


def test_what_is_not_ours_does_not_disturb(store: RedisStore, client: redis.Redis) -> None:
    fill(store)
    # What an earlier, unreleased format left: a list of hours, and an hour.
    client.zadd(keys.chunks("h"), {str(START_S): START_S, "h:x:y": START_S, "h:0:1:0": START_S})
    client.hset(f"or:ts:h:{START_S}", "1.0", b"x" * 16)
    client.hset(HEAD, "nonsense", b"x")

    assert [*map(float, range(10))] == values(store)
    assert store.ticks("h", 0, OVER_S) == [*range(TICK, TICK + 10)]
    assert store.last("h") is not None
    assert store.damaged == 0


def test_a_newest_row_that_is_damaged_gives_way_to_the_one_before(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store, 70)
    client.hset(
        keys.piece("h", spans.piece(spans.HEAD, TICK + 69, 10.0).name), str(TICK + 69), b"x"
    )

    last = store.last("h")
    assert last is not None
    assert last.values == {"a": 59.0}


@pytest.mark.parametrize(
    "names", [b"", b"[", rows.shrunk(b"[1]"), rows.shrunk(b'["a", "b"]'), None]
)
@pytest.mark.parametrize("sealed", [False, True])
def test_rows_whose_names_are_damaged_are_skipped_and_counted(
    names: bytes | None, store: RedisStore, client: redis.Redis, valkey_url: str, *, sealed: bool
) -> None:
    fill(store, 5)
    schema_id, _ = rows.schema_of(["a"])
    if sealed:
        store.seal("h", OVER_S)
    if names is None:
        client.hdel(keys.schemas("h"), schema_id)
    else:
        client.hset(keys.schemas("h"), schema_id, names)
    store.append("h", TICK + 5, {"b": 5.0, "a": 5.0})
    reader = RedisStore(valkey_url)

    assert values(reader) == [5.0]
    assert reader.window("h", START_S, OVER_S).column("a").tolist() == [5.0]
    assert reader.damaged > 0
    reader.seal("h", OVER_S)
    assert values(reader) == [5.0]


@pytest.mark.parametrize("block", [b"", b"x" * 10, b"x" * 100, b"OC" + bytes(100)])
def test_a_damaged_chunk_is_skipped_and_counted(
    block: bytes,
    store: RedisStore,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill(store)
    store.append("h", TICK + 720, {"a": 720.0})
    store.seal("h", OVER_S)
    client.set(CHUNK, block)

    with caplog.at_level(logging.ERROR):
        assert values(store) == []
        assert values(store) == []
    assert store.damaged == (2 if block else 0)
    assert len(caplog.messages) == bool(block)
    assert store.append("h", TICK + 1, {"a": 11.0}) is True
    assert values(store) == [11.0]
    assert store.last("h") is not None
    assert TICK + 1 in store.ticks("h", START_S, OVER_S)
    store.seal("h", OVER_S)
    assert values(store) == [11.0]


def test_a_damaged_column_does_not_touch_the_others(store: RedisStore, client: redis.Redis) -> None:
    for number in range(10):
        store.append("h", TICK + number, {"a": float(number**2), "b": float(number)})
    store.seal("h", OVER_S)
    packed = bytearray(cast("bytes", client.get(CHUNK)))
    packed[-1] ^= 1
    client.set(CHUNK, bytes(packed))

    assert values(store, "b") == []
    assert store.damaged == 1
    assert values(store, "a") == [float(number**2) for number in range(10)]
    assert store.damaged == 1
    assert store.append("h", TICK + 1, {"a": 1.0}) is False
    store.append("h", TICK + 20, {"a": 400.0})
    store.seal("h", OVER_S)
    assert values(store, "a") == [*(float(number**2) for number in range(10)), 400.0]


def test_a_row_that_comes_while_its_range_is_sealed_is_not_lost(
    store: RedisStore, valkey_url: str
) -> None:
    fill(store)
    other = RedisStore(valkey_url)
    made = store.seal(
        "h", OVER_S, before_commit=lambda *_: other.append("h", TICK + 50, {"a": 50.0}) and None
    )

    assert made == 0
    assert store.seal("h", OVER_S) == 1
    assert values(store) == [*map(float, range(10)), 50.0]


def test_a_row_that_is_replaced_while_its_range_is_sealed_is_not_lost(
    store: RedisStore, valkey_url: str
) -> None:
    fill(store)
    other = RedisStore(valkey_url)

    def replace(*_: float) -> None:
        other.append("h", TICK + 5, {"a": 55.0}, replace=True)

    assert store.seal("h", OVER_S, before_commit=replace) == 0
    assert store.seal("h", OVER_S) == 1
    assert values(store)[5] == 55.0


@pytest.mark.parametrize("first_s", [START_S + RANGE_S + 10, OVER_S])
def test_of_two_that_seal_at_once_one_does(
    first_s: float, store: RedisStore, valkey_url: str
) -> None:
    fill(store, 70)
    other = RedisStore(valkey_url)
    made = store.seal("h", first_s, before_commit=lambda *_: other.seal("h", OVER_S))

    assert made == 0
    assert [*map(float, range(70))] == values(store)
    assert store.seal("h", OVER_S) == 0


def test_names_that_are_new_at_the_second_question_are_asked_for_again(
    store: RedisStore, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    store.append("h", TICK + 10, {"a": 10.0, "b": 1.0})
    reader = RedisStore(valkey_url)
    learn, sealed = reader._schemas.learn, list[int]()

    def seal_first(host: str, found: dict[bytes, tuple[str, ...]]) -> None:
        learn(host, found)
        if not sealed:
            sealed.append(store.seal("h", OVER_S))

    monkeypatch.setattr(reader._schemas, "learn", seal_first)

    assert [*map(float, range(11))] == values(reader)
    assert sealed == [1]
    assert reader.damaged == 0


def test_every_key_ends_by_itself(store: RedisStore, client: redis.Redis) -> None:
    fill(store)
    most_s = store.retention_s + CHUNK_S + spans.MARGIN_S

    assert left(client) == {HEAD, keys.chunks("h"), keys.schemas("h"), keys.series_hosts()}
    for key in (HEAD, keys.chunks("h"), keys.schemas("h")):
        assert most_s - 10 < client.ttl(key) <= most_s
    store.seal("h", START_S + RANGE_S + 10)
    left_s = store.retention_s + spans.MARGIN_S - 10
    assert left_s - 10 < client.ttl(RANGE) <= left_s
    store.append("h", TICK + 20, {"a": 1.0})
    store.seal("h", OVER_S)
    assert left_s - 10 < client.ttl(CHUNK) <= left_s
    assert left(client) == {CHUNK, keys.chunks("h"), keys.schemas("h"), keys.series_hosts()}
    store.append("h", TICK + 720, {"a": 1.0})
    store.expire("h", OVER_S)
    assert 0 < client.ttl(keys.forgotten("h")) <= most_s


def test_pieces_that_ended_by_themselves_leave_the_list(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    client.delete(HEAD)
    store.append("h", TICK + 60, {"a": 1.0})

    assert client.zrange(keys.chunks("h"), 0, -1) == [
        spans.piece(spans.HEAD, TICK + 60, 10.0).name.encode()
    ]


def test_nothing_of_a_host_is_left_when_all_is_forgotten(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store, 800)
    store.seal("h", OVER_S)
    store.append("h", TICK + 900, {"b": 1.0})
    store.expire("h", START_S + CHUNK_S)
    store.expire("h", START_S + 10 * CHUNK_S)

    assert left(client) == set()


def test_schemas_that_no_piece_needs_are_forgotten(store: RedisStore, client: redis.Redis) -> None:
    for number in range(720):
        store.append("h", TICK + number, {"a": 1.0, f"s{number // 180}": 1.0})
    store.append("h", TICK + 720, {"z": 1.0})
    assert client.hlen(keys.schemas("h")) == 5
    store.expire("h", 0)
    assert client.hlen(keys.schemas("h")) == 5
    store.seal("h", OVER_S)
    store.expire("h", 0)

    union, _ = rows.schema_of(["a", "s0", "s1", "s2", "s3"])
    assert set(client.hkeys(keys.schemas("h"))) == {union, rows.schema_of(["z"])[0]}
    # A client that believes the server knows them sends them again.
    assert store.append("h", TICK + 721, {"a": 1.0, "s0": 7.0}) is True
    assert store.append("h", TICK + 800, {"a": 1.0, "s0": 8.0}) is True
    assert store.read("h", "s0", OVER_S - 10, OVER_S + 1000)[1].tolist() == [7.0, 8.0]


def test_a_server_that_lost_everything_is_told_the_names_again(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store, 3)
    client.flushall()
    client.script_flush()

    assert store.append("h", TICK + 3, {"a": 3.0}) is True
    assert values(store) == [3.0]


def test_tiers_do_not_see_each_other(store: RedisStore, client: redis.Redis) -> None:
    fill(store)
    summaries = RedisStore("", client=client, tier=keys.SUMMARIES)

    assert summaries.hosts() == []
    assert summaries.append("h", TICK, {"x": 1.0}) is True
    assert [*map(float, range(10))] == values(store)


def test_more_schemas_than_are_remembered_are_all_read(
    store: RedisStore, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_schemas, "_SCHEMAS_KEPT", 8)
    count = 50
    for number in range(count):
        store.append("h", TICK + number, {"a": float(number), f"s{number}": 0.0})
    reader = RedisStore(valkey_url)

    for _ in range(2):
        assert [*map(float, range(count))] == values(reader)
        assert reader.read("h", "a", START_S, START_S + 100)[1].tolist() == [*map(float, range(10))]
    assert reader.damaged == 0


def test_an_append_is_one_question_to_the_server(store: RedisStore, client: redis.Redis) -> None:
    fill(store)
    client.config_resetstat()
    store.append("h", TICK + 20, {"a": 1.0})
    called = client.info("commandstats")

    assert called["cmdstat_evalsha"]["calls"] == 1
    # The rest are the script's own.
    assert {"evalsha", "getrange", "hsetnx", "config|resetstat"} == {
        name.removeprefix("cmdstat_") for name in called
    }


def test_a_day_of_a_series_is_one_question_to_the_server(
    store: RedisStore, client: redis.Redis
) -> None:
    for number in range(0, 8640, 12):
        store.append("h", TICK + number, {"a": float(number), "b": 1.0})
    store.seal("h", START_S + 81_010)
    assert len(store.read("h", "a", START_S, START_S + 86_400)[0]) == 720
    client.config_resetstat()

    assert len(store.read("h", "b", START_S, START_S + 86_400)[0]) == 720
    called = client.info("commandstats")
    assert called["cmdstat_evalsha"]["calls"] == 1
    assert {"evalsha", "zrangebyscore", "getrange", "hgetall", "config|resetstat"} == {
        name.removeprefix("cmdstat_") for name in called
    }


def test_a_piece_that_was_sealed_again_is_read_as_it_is_now(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    store.seal("h", OVER_S)
    assert list(range(10)) == values(store)  # now the reader knows where its columns lie
    writer = RedisStore("", client=client)
    writer.append("h", TICK + 10, {"b": 1.0, "a": 10.0})
    writer.seal("h", OVER_S)

    assert list(range(11)) == values(store)
    assert values(store, "b") == [1.0]
    assert store.damaged == 0


def test_a_series_that_a_piece_did_not_have_is_found_when_it_has_it(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    store.seal("h", OVER_S)
    assert (values(store, "b"), len(values(store))) == ([], 10)
    writer = RedisStore("", client=client)
    writer.append("h", TICK + 10, {"b": 1.0})
    writer.seal("h", OVER_S)

    assert values(store, "b") == [1.0]
    assert store.damaged == 0


def test_a_known_piece_that_ended_by_itself_is_no_damage(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    store.seal("h", OVER_S)
    assert len(values(store)) == 10
    client.delete(CHUNK)

    assert values(store) == []
    assert store.damaged == 0


def test_ranges_that_became_a_chunk_are_read_from_it(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store, 200)
    store.seal("h", START_S + 2 * RANGE_S + 20)
    assert list(range(200)) == values(store)
    RedisStore("", client=client).seal("h", OVER_S)

    assert list(range(200)) == values(store)
    assert list(range(200)) == values(store)


def test_a_column_that_is_damaged_once_it_is_known_is_counted(
    store: RedisStore, client: redis.Redis
) -> None:
    for number in range(10):
        store.append("h", TICK + number, {"a": number * 0.1, "b": float(number)})
    store.seal("h", OVER_S)
    assert len(values(store)) == 10
    sealed = cast("bytes", client.get(CHUNK))
    client.set(CHUNK, sealed[:-1] + bytes((sealed[-1] ^ 1,)))

    assert values(store, "b") == []
    assert len(values(store)) == 10
    assert store.damaged == 1


def test_the_second_read_of_a_piece_fetches_its_column_only(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store)
    store.append("h", TICK + 11, {"a": 11.0})  # one is missing: the piece has a bitmap
    store.seal("h", OVER_S)
    first = values(store)
    client.config_resetstat()

    assert first == values(store)
    assert client.info("commandstats")["cmdstat_getrange"]["calls"] == 1


def test_rows_of_another_interval_stay_readable(store: RedisStore, valkey_url: str) -> None:
    slow, quick, host = store, RedisStore(valkey_url, interval_s=1.0), "h"
    for number in range(100):
        slow.append(host, TICK + number, {"a": float(number)})
    slow.seal(host, START_S + RANGE_S + 10)
    for number in range(1000, 1400):
        quick.append(host, START_S + number, {"a": number / 10.0})
    slow.append(host, TICK + 140, {"a": 140.0})
    expected = [
        *((START_S + number * 10.0, float(number)) for number in range(100)),
        *((START_S + number * 1.0, number / 10.0) for number in range(1000, 1401)),
    ]

    for each in (slow, quick, slow):
        assert expected == pairs(each)
        each.seal(host, START_S + 2 * CHUNK_S)
    assert expected == pairs(quick)
    last = quick.last(host)
    assert last is not None
    assert (last.at_s, last.values) == (START_S + 1400.0, {"a": 140.0})
    assert slow.expire(host, 1e300) > 0
    assert host not in quick.hosts()


def test_series_of_a_chunk_that_come_and_go_are_whole(store: RedisStore) -> None:
    expected: dict[str, dict[float, float]] = {}
    for number in range(720):
        row = {name: float(number * place) for place, name in enumerate("abcde")
               if (number // (50 * (place + 1))) % 2 == 0}  # fmt: skip
        store.append("h", TICK + number, row)
        for name, value in row.items():
            expected.setdefault(name, {})[(TICK + number) * 10.0] = value
    for after_s in (RANGE_S * 4 + 10, CHUNK_S + 10):
        store.seal("h", START_S + after_s)
        for name, kept in expected.items():
            times, numbers = store.read("h", name, START_S, START_S + CHUNK_S)
            assert kept == dict(zip(times.tolist(), numbers.tolist(), strict=True))


def test_a_wide_row_is_kept_whole(store: RedisStore) -> None:
    row = {f"series.{place}": place / 7 for place in range(3000)}
    for number in range(3):
        store.append("h", TICK + number, row)
    store.seal("h", OVER_S)
    window = store.window("h", START_S, OVER_S)

    assert window.values.shape == (3, 3000)
    assert dict(zip(window.names, window.values[2].tolist(), strict=True)) == row
    assert store.read("h", "series.2999", START_S, OVER_S)[1].tolist() == [2999 / 7] * 3


def test_a_range_without_a_row_that_can_be_read_is_sealed_empty(
    store: RedisStore, client: redis.Redis
) -> None:
    fill(store, 1)
    client.hset(HEAD, str(TICK), b"x")
    store.seal("h", OVER_S)

    assert values(store) == []
    assert store.damaged == 1
    assert chunks.decode(cast("bytes", client.get(CHUNK))).values.shape == (0, 0)
    assert store.ticks("h", 0, OVER_S) == []
    assert store.last("h") is None


def test_windows_of_raw_rows_keep_a_schema_each() -> None:
    one, other = rows.schema_of(["a"])[0], rows.schema_of(["a", "b"])[0]
    packed = {2: one + np.array([2.0]).tobytes(), 1: other + np.array([1.0, 1.5]).tobytes()}
    found = sealing.windows_of(packed, {one: ("a",), other: ("a", "b")}, "p", Damage())
    assert [(window.names, window.times_s.tolist()) for window in found] == [
        (("a", "b"), [1.0]), (("a",), [2.0]),
    ]  # fmt: skip
