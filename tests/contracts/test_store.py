"""What every store of series keeps to; ``OUTRIDER_TEST_REDIS_URL`` names a server to try as well.

A given server may hold somebody's data: it is not flushed, and hosts get names of their own.
"""

from __future__ import annotations

import math
import os
import random
import struct
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outrider.errors import BadArgument
from outrider.store.memory import MemoryStore
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from outrider.store.base import SeriesStore

    Make = Callable[[float], SeriesStore]

GIVEN = os.environ.get("OUTRIDER_TEST_REDIS_URL")
KINDS = ["memory", "valkey", *(["given"] if GIVEN else [])]
RANGE_S, CHUNK_S = 600, 7200  # of an interval of ten seconds
HOUR_S = 3600
START_S = 1_700_000_000 // CHUNK_S * CHUNK_S
TICK = START_S // 10
TICKS_A_RANGE, TICKS_A_CHUNK = RANGE_S // 10, CHUNK_S // 10


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a store with the given interval; those of one test share their rows."""
    if request.param == "memory":
        return lambda interval_s: MemoryStore(interval_s=interval_s)
    url = GIVEN if request.param == "given" else str(request.getfixturevalue("valkey_url"))
    assert url
    return lambda interval_s: RedisStore(url, interval_s=interval_s)


@pytest.fixture
def store(make: Make) -> SeriesStore:
    return make(10.0)


@pytest.fixture
def host(store: SeriesStore) -> Iterator[str]:
    name = fresh_host()
    yield name
    store.expire(name, math.inf)


def fresh_host() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def plain(found: tuple[NDArray[np.float64], NDArray[np.float64]]) -> list[tuple[float, float]]:
    times, values = found
    assert times.dtype == values.dtype == np.float64
    assert times.shape == values.shape
    return list(zip(times.tolist(), values.tolist(), strict=True))


def fill(store: SeriesStore, host: str, count: int, *, first: int = TICK) -> None:
    for number in range(count):
        store.append(host, first + number, {"a": float(number), "b": -float(number)})


def everything(store: SeriesStore, host: str) -> dict[str, list[tuple[float, float]]]:
    window = store.window(host, 0, START_S * 2)
    return {name: plain(store.read(host, name, 0, START_S * 2)) for name in window.names}


def test_a_row_is_kept_once_and_the_first_counts(store: SeriesStore, host: str) -> None:
    assert store.append(host, TICK, {"a": 1.0}) is True
    assert store.append(host, TICK, {"a": 2.0, "b": 3.0}) is False

    assert plain(store.read(host, "a", START_S, START_S + 10)) == [(START_S, 1.0)]
    assert plain(store.read(host, "b", START_S, START_S + 10)) == []


def test_rows_may_come_late_and_in_any_order(store: SeriesStore, host: str) -> None:
    ticks = list(range(TICK, TICK + 500))
    random.Random(7).shuffle(ticks)
    for tick in ticks:
        assert store.append(host, tick, {"a": float(tick)})

    expected = [(tick * 10.0, float(tick)) for tick in sorted(ticks)]
    assert expected == plain(store.read(host, "a", START_S, START_S + 5000))
    assert sorted(ticks) == store.ticks(host, START_S, START_S + 5000)


NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 2.0**63, 5e-324, -2.2e-308, 1.8e308]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=8), NUMBERS, max_size=5), min_size=1, max_size=6
    ),
    sealed_s=st.sampled_from([0, RANGE_S + 10, 2 * CHUNK_S]),
)
def test_every_number_comes_back_bit_for_bit(
    store: SeriesStore, rows: list[dict[str, float]], sealed_s: float
) -> None:
    host = fresh_host()
    for place, row in enumerate(rows):
        assert store.append(host, TICK + place, row)
    store.seal(host, START_S + sealed_s)

    for name in {name for row in rows for name in row}:
        expected = [
            (START_S + place * 10.0, bits(row[name]))
            for place, row in enumerate(rows)
            if name in row
        ]
        found = plain(store.read(host, name, START_S, START_S + HOUR_S))
        assert expected == [(at_s, bits(value)) for at_s, value in found]
    assert list(range(TICK, TICK + len(rows))) == store.ticks(host, START_S, START_S + HOUR_S)
    last = store.last(host)
    assert last is not None
    assert {n: bits(v) for n, v in rows[-1].items()} == {n: bits(v) for n, v in last.values.items()}
    store.expire(host, math.inf)


def test_whole_numbers_and_booleans_come_back_as_floats(store: SeriesStore, host: str) -> None:
    store.append(host, TICK, {"a": 2**63, "b": True})

    assert plain(store.read(host, "a", START_S, START_S + 10)) == [(START_S, 2.0**63)]
    assert plain(store.read(host, "b", START_S, START_S + 10)) == [(START_S, 1.0)]


def test_series_may_come_and_go_and_nothing_is_lost(store: SeriesStore, host: str) -> None:
    store.append(host, TICK, {"a": 1.0, "b": 2.0})
    store.append(host, TICK + 1, {"b": 3.0, "c": 4.0})
    store.append(host, TICK + 2, {"c": 5.0, "a": 6.0})
    window = store.window(host, START_S, START_S + 30)

    assert {"a", "b", "c"} == set(window.names)
    assert window.values.shape == (3, 3)
    assert bits(math.nan) != bits(float(window.column("c")[0]))  # missing, not measured
    assert math.isnan(window.column("c")[0])
    assert plain(store.read(host, "a", START_S, START_S + 30)) == [
        (START_S, 1.0), (START_S + 20, 6.0),
    ]  # fmt: skip
    assert plain(store.read(host, "c", START_S, START_S + 30)) == [
        (START_S + 10, 4.0), (START_S + 20, 5.0),
    ]  # fmt: skip


def test_the_newest_row_has_only_the_series_of_its_tick(store: SeriesStore, host: str) -> None:
    store.append(host, TICK, {"gone": 1.0, "a": 2.0})
    store.append(host, TICK + 1, {"a": math.nan})
    last = store.last(host)

    assert last is not None
    assert (host, START_S + 10.0) == (last.host, last.at_s)
    assert {"a"} == set(last.values)


def test_the_newest_row_is_that_of_the_newest_tick_not_the_last_written(
    store: SeriesStore, host: str
) -> None:
    store.append(host, TICK + TICKS_A_CHUNK, {"a": 2.0})
    store.append(host, TICK, {"a": 1.0})
    last = store.last(host)

    assert last is not None
    assert last.values == {"a": 2.0}


def test_a_measured_nan_is_read_and_a_missing_value_is_not(store: SeriesStore, host: str) -> None:
    store.append(host, TICK, {"a": math.nan})
    store.append(host, TICK + 1, {"b": 1.0})
    times, values = store.read(host, "a", START_S, START_S + 20)

    assert times.tolist() == [START_S]
    assert math.isnan(values[0])


def test_an_empty_row_counts_as_a_row(store: SeriesStore, host: str) -> None:
    assert store.append(host, TICK, {}) is True
    assert store.append(host, TICK, {"a": 1.0}) is False

    assert store.ticks(host, START_S, START_S + 10) == [TICK]
    last = store.last(host)
    assert last is not None
    assert last.values == {}


def test_a_range_includes_its_start_and_excludes_its_end(store: SeriesStore, host: str) -> None:
    fill(store, host, 5)

    assert store.ticks(host, START_S + 10, START_S + 30) == [TICK + 1, TICK + 2]
    assert store.ticks(host, START_S + 0.001, START_S + 20.001) == [TICK + 1, TICK + 2]
    assert store.ticks(host, START_S + 20, START_S + 20) == []
    assert store.ticks(host, START_S + 30, START_S + 10) == []


@pytest.mark.parametrize("interval_s", [1.0, 1.1, 7.3, 10.0, 3599.0])
def test_a_tick_is_found_by_its_own_times_whatever_the_interval(
    make: Make, interval_s: float
) -> None:
    store, host = make(interval_s), fresh_host()
    first = int(START_S // interval_s)
    for tick in range(first, first + 50):
        store.append(host, tick, {"a": float(tick)})

    for tick in range(first, first + 50):
        start_s = tick * interval_s
        found = store.window(host, start_s, start_s + interval_s)
        assert float(tick) == found.column("a")[0]
        assert tick == store.ticks(host, start_s, start_s + interval_s / 2)[0]
    store.expire(host, math.inf)


def test_a_host_without_rows_is_empty(store: SeriesStore, host: str) -> None:
    assert store.window(host, START_S, START_S + 100).values.shape == (0, 0)
    assert plain(store.read(host, "a", START_S, START_S + 100)) == []
    assert store.ticks(host, START_S, START_S + 100) == []
    assert store.last(host) is None
    assert host not in store.hosts()
    assert store.seal(host, START_S) == 0
    assert store.expire(host, START_S) == 0


def test_hosts_are_those_that_have_rows(store: SeriesStore, host: str) -> None:
    other = fresh_host()
    store.append(host, TICK, {"a": 1.0})
    store.append(other, TICK, {"a": 2.0})
    assert {host, other} <= set(store.hosts())
    assert sorted(store.hosts()) == store.hosts()

    store.expire(other, math.inf)
    assert other not in store.hosts()
    assert plain(store.read(host, "a", START_S, START_S + 10)) == [(START_S, 1.0)]


@pytest.mark.parametrize("after_s", [RANGE_S + 10, RANGE_S * 5, CHUNK_S + 10, 2 * CHUNK_S + 10])
def test_sealing_changes_nothing_that_is_read(
    store: SeriesStore, host: str, after_s: float
) -> None:
    count = 2 * TICKS_A_CHUNK + 90
    fill(store, host, count)
    before = everything(store, host)
    assert store.seal(host, START_S + after_s) > 0

    assert before == everything(store, host)
    assert list(range(TICK, TICK + count)) == store.ticks(host, 0, START_S * 2)
    last = store.last(host)
    assert last is not None
    assert last.values == {"a": count - 1.0, "b": 1.0 - count}


def test_sealing_goes_on_where_it_was(store: SeriesStore, host: str) -> None:
    fill(store, host, 2 * TICKS_A_CHUNK)
    before = everything(store, host)
    for after_s in range(0, 2 * CHUNK_S + 700, 70):
        store.seal(host, START_S + after_s)
        assert before == everything(store, host)


def test_sealing_twice_seals_nothing_more(store: SeriesStore, host: str) -> None:
    fill(store, host, TICKS_A_CHUNK + TICKS_A_RANGE)

    assert store.seal(host, START_S + CHUNK_S + RANGE_S + 10) == 2
    assert store.seal(host, START_S + CHUNK_S + RANGE_S + 10) == 0


@pytest.mark.parametrize("after_s", [RANGE_S + 10, 2 * CHUNK_S])
def test_a_row_that_comes_after_the_seal_is_kept_and_sealed_next_time(
    store: SeriesStore, host: str, after_s: float
) -> None:
    fill(store, host, 10)
    store.append(host, TICK + 20, {"a": 20.0})
    store.seal(host, START_S + after_s)

    assert store.append(host, TICK + 15, {"late": 15.0}) is True
    assert store.append(host, TICK + 15, {"late": 16.0}) is False
    assert store.append(host, TICK + 3, {"a": 99.0}) is False
    assert store.append(host, TICK + 20, {"a": 99.0}) is False
    before = everything(store, host)
    assert before["late"] == [(START_S + 150, 15.0)]
    assert [at_s for at_s, _ in before["a"]] == sorted(at_s for at_s, _ in before["a"])

    assert store.seal(host, START_S + after_s) == 1
    assert before == everything(store, host)
    assert store.append(host, TICK + 15, {"late": 17.0}) is False


def test_the_range_that_is_under_way_is_not_sealed(store: SeriesStore, host: str) -> None:
    fill(store, host, 10)

    assert store.seal(host, START_S + RANGE_S - 1) == 0
    assert store.seal(host, START_S + RANGE_S + 9) == 0
    assert store.seal(host, START_S + RANGE_S + 10) == 1


@pytest.mark.parametrize("sealed_s", [0, RANGE_S + 10, 2 * CHUNK_S])
def test_a_row_may_replace_one_sealed_or_not(
    store: SeriesStore, host: str, sealed_s: float
) -> None:
    fill(store, host, 10)
    store.seal(host, START_S + sealed_s)

    assert store.append(host, TICK + 3, {"a": -3.0, "new": 1.0}, replace=True) is True
    for _ in range(2):
        assert [value for _, value in plain(store.read(host, "a", START_S, START_S + 50))] == [
            0.0,
            1.0,
            2.0,
            -3.0,
            4.0,
        ]
        assert plain(store.read(host, "new", START_S, START_S + 100)) == [(START_S + 30, 1.0)]
        # All of the old row is gone, also a series that the new one does not have.
        assert START_S + 30 not in [at for at, _ in plain(store.read(host, "b", 0, START_S * 2))]
        assert len(store.ticks(host, 0, START_S * 2)) == 10
        store.seal(host, START_S + 2 * CHUNK_S)
    assert store.append(host, TICK + 3, {"a": 7.0}) is False


def test_a_row_that_replaces_nothing_is_kept(store: SeriesStore, host: str) -> None:
    assert store.append(host, TICK, {"a": 1.0}, replace=True) is True
    assert store.append(host, TICK, {"a": 2.0}, replace=True) is True

    assert plain(store.read(host, "a", START_S, START_S + 10)) == [(START_S, 2.0)]


def test_before_a_seal_is_put_in_place_its_time_is_told(store: SeriesStore, host: str) -> None:
    fill(store, host, TICKS_A_CHUNK)
    told: list[tuple[float, float]] = []
    store.seal(
        host, START_S + 2 * RANGE_S + 10, before_commit=lambda start, end: told.append((start, end))
    )
    assert told == [
        (START_S, START_S + RANGE_S), (START_S + RANGE_S, START_S + 2 * RANGE_S),
    ]  # fmt: skip

    told.clear()
    store.seal(
        host, START_S + CHUNK_S + 10, before_commit=lambda start, end: told.append((start, end))
    )
    assert told == [(START_S, START_S + CHUNK_S)]


def test_what_is_told_first_sees_the_rows_and_may_refuse(store: SeriesStore, host: str) -> None:
    fill(store, host, TICKS_A_CHUNK)
    before = everything(store, host)
    seen: list[int] = []

    def refuse(start_s: float, end_s: float) -> None:
        seen.append(len(store.window(host, start_s, end_s).times_s))
        raise OSError("not now")

    for after_s, rows in ((RANGE_S + 10, TICKS_A_RANGE), (CHUNK_S + 10, TICKS_A_CHUNK)):
        with pytest.raises(OSError, match="not now"):
            store.seal(host, START_S + after_s, before_commit=refuse)
        assert seen.pop() == rows
        assert before == everything(store, host)
        assert store.seal(host, START_S + after_s) == 1
        assert before == everything(store, host)


def test_only_whole_pieces_expire(store: SeriesStore, host: str) -> None:
    fill(store, host, 2 * TICKS_A_CHUNK)
    store.seal(host, START_S + CHUNK_S + 10)

    assert store.expire(host, START_S + CHUNK_S - 1) == 0
    assert len(store.ticks(host, 0, START_S * 2)) == 2 * TICKS_A_CHUNK
    assert store.expire(host, START_S + CHUNK_S + RANGE_S - 1) == 1
    assert store.ticks(host, 0, START_S * 2)[0] == TICK + TICKS_A_CHUNK
    assert store.expire(host, START_S + CHUNK_S + RANGE_S) == 1
    assert len(store.ticks(host, 0, START_S * 2)) == TICKS_A_CHUNK - TICKS_A_RANGE


def test_a_row_of_a_time_that_was_forgotten_is_refused_and_counted(
    store: SeriesStore, host: str
) -> None:
    fill(store, host, 2 * TICKS_A_RANGE)
    store.expire(host, START_S + RANGE_S)

    assert store.append(host, TICK + 5, {"a": 1.0}) is False
    assert store.append(host, TICK + 5, {"a": 1.0}, replace=True) is False
    assert store.refused == 2
    assert len(store.ticks(host, 0, START_S * 2)) == TICKS_A_RANGE
    assert store.append(host, TICK + 2 * TICKS_A_RANGE, {"new": 1.0}) is True


def test_what_is_no_number_is_refused_by_name(store: SeriesStore, host: str) -> None:
    with pytest.raises(BadArgument, match="b = 'x' is no number"):
        store.append(host, TICK, {"a": 1.0, "b": "x"})  # type: ignore[dict-item]

    assert store.ticks(host, 0, START_S * 2) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_long_range_holds_what_its_short_parts_hold(
    store: SeriesStore, data: st.DataObject
) -> None:
    if getattr(store, "filled", None) is None:
        name = fresh_host()
        for number in [*range(0, 300, 3), *range(300, 800)]:
            store.append(
                name, TICK + number, {"a": float(number)} | ({} if number % 7 else {"b": 1})
            )
        store.filled = name  # type: ignore[attr-defined]
    name = store.filled  # type: ignore[attr-defined]
    start = data.draw(st.floats(-50, 8100))
    length = data.draw(st.one_of(st.floats(0, 1190), st.floats(1210, 8000)))
    whole = plain(store.read(name, "a", START_S + start, START_S + start + length))

    expected = [
        (START_S + number * 10.0, float(number))
        for number in [*range(0, 300, 3), *range(300, 800)]
        if START_S + start <= START_S + number * 10.0 < START_S + start + length
    ]
    assert expected == whole


def test_a_range_may_be_longer_than_anything_stored(store: SeriesStore, host: str) -> None:
    fill(store, host, 5)

    assert len(store.ticks(host, 0, 1e12)) == 5
    assert len(store.ticks(host, -math.inf, math.inf)) == 5
