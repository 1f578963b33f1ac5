from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.settings import Retention
from outrider.store import connection, rollups, tiers
from outrider.store.memory import MemoryStore
from outrider.store.redis import RedisStore
from outrider.store.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S = 3600
START_S = 1_700_000_000 // HOUR_S * HOUR_S
END_S = START_S + 100 * HOUR_S


def in_memory(interval_s: float = 10.0) -> Tiers:
    return Tiers(
        MemoryStore(interval_s=interval_s),
        MemoryStore(interval_s=300.0),
        MemoryStore(interval_s=3600.0),
    )


@pytest.fixture(params=["memory", "valkey"])
def stores(request: pytest.FixtureRequest) -> Tiers:
    if request.param == "memory":
        return in_memory()
    url = str(request.getfixturevalue("valkey_url"))
    return tiers.of_redis(RedisStore(url), Retention(), url=url)


def fill(
    stores: Tiers, row: Callable[[int], dict[str, float]], count: int, *, first: int = 0
) -> None:
    for number in range(first, first + count):
        stores.raw.append("h", START_S // 10 + number, row(number))


def rows_of(store: Any, start_s: float = START_S, end_s: float = END_S) -> dict[float, Any]:
    found: dict[float, Any] = {}
    window = store.window("h", start_s, end_s)
    for name in window.names:
        for at_s, value in zip(*store.read("h", name, start_s, end_s), strict=True):
            found.setdefault(float(at_s), {})[name] = float(value)
    return found


def test_five_minutes_and_hours_are_made_of_raw_rows(stores: Tiers) -> None:
    fill(stores, lambda n: {"a": float(n % 30), "b_total": 2.0 * n}, 720)
    assert rollups.roll_up(stores, "h", START_S, START_S + 7200) == 24

    five = rows_of(stores.five_minutes)
    gauge = {"a|min": 0.0, "a|max": 29.0, "a|sum": 435.0, "a|count": 30.0, "a|last": 29.0}
    assert [START_S + 300.0 * n for n in range(24)] == list(five)
    assert five[START_S + 300] == gauge | {
        "b_total|increase": 60.0, "b_total|count": 30.0, "b_total|last": 118.0
    }  # fmt: skip
    hours = rows_of(stores.hours)
    assert list(hours) == [START_S, START_S + 3600]
    assert hours[START_S + 3600] == {
        "a|min": 0.0, "a|max": 29.0, "a|sum": 5220.0, "a|count": 360.0, "a|last": 29.0,
        "b_total|increase": 720.0, "b_total|count": 360.0, "b_total|last": 1438.0,
    }  # fmt: skip


def test_rolling_up_twice_changes_nothing(stores: Tiers) -> None:
    fill(stores, lambda n: {"a": float(n), "b_total": float(n)}, 90)
    rollups.roll_up(stores, "h", START_S, START_S + 900)
    before = rows_of(stores.five_minutes), rows_of(stores.hours)

    assert rollups.roll_up(stores, "h", START_S, START_S + 900) == 3
    assert before == (rows_of(stores.five_minutes), rows_of(stores.hours))


def test_a_late_row_corrects_its_bucket_and_its_hour(stores: Tiers) -> None:
    fill(stores, lambda _: {"a": 1.0}, 89)
    rollups.roll_up(stores, "h", START_S, START_S + 900)
    stores.raw.append("h", START_S // 10 + 89, {"a": 50.0})
    rollups.roll_up(stores, "h", START_S + 890, START_S + 900)

    assert rows_of(stores.five_minutes)[START_S + 600]["a|max"] == 50.0
    assert rows_of(stores.five_minutes)[START_S + 300]["a|max"] == 1.0
    assert rows_of(stores.hours)[START_S]["a|max"] == 50.0
    assert rows_of(stores.hours)[START_S]["a|count"] == 90.0


def test_a_late_row_corrects_the_step_into_the_next_bucket(stores: Tiers) -> None:
    stores.raw.append("h", START_S // 10, {"b_total": 10.0})
    stores.raw.append("h", START_S // 10 + 30, {"b_total": 5.0})
    rollups.roll_up(stores, "h", START_S, START_S + 600)
    assert rows_of(stores.five_minutes)[START_S + 300]["b_total|increase"] == 5.0

    stores.raw.append("h", START_S // 10 + 29, {"b_total": 4.0})  # it began anew before
    rollups.roll_up(stores, "h", START_S + 290, START_S + 300)

    found = rows_of(stores.five_minutes)
    assert [found[at_s]["b_total|increase"] for at_s in sorted(found)] == [4.0, 1.0]
    assert rows_of(stores.hours)[START_S]["b_total|increase"] == 5.0


@pytest.mark.parametrize("gap_s", [1200, 5 * HOUR_S, 70 * HOUR_S])
def test_growth_over_a_gap_belongs_to_the_bucket_where_the_counter_comes_back(
    stores: Tiers, gap_s: int
) -> None:
    for at_s, total in ((0, 10.0), (100, 11.0), (100 + gap_s, 111.0), (110 + gap_s, 112.0)):
        stores.raw.append("h", (START_S + at_s) // 10, {"b_total": total})
        rollups.roll_up(stores, "h", START_S + at_s, START_S + at_s + 10)
        stores.raw.expire("h", START_S + at_s - HOUR_S)  # the raw rows before it are gone

    found = rows_of(stores.five_minutes)
    assert [found[at_s]["b_total|increase"] for at_s in sorted(found)] == [1.0, 101.0]


def test_a_bot_that_was_away_while_others_ran_loses_no_growth(stores: Tiers) -> None:
    def row(number: int) -> dict[str, float]:
        there = number < 30 or number >= 90
        return {"a_total": float(number), **({"b_total": 3.0 * number} if there else {})}

    fill(stores, row, 120)
    for start_s in range(START_S, START_S + 1200, 300):
        rollups.roll_up(stores, "h", start_s, start_s + 300)

    found = rows_of(stores.five_minutes)
    assert sum(row.get("b_total|increase", 0.0) for row in found.values()) == 3.0 * 119
    assert "b_total|count" not in found[START_S + 300]


def test_a_bucket_cut_in_two_by_ranges_is_whole_in_the_end(stores: Tiers) -> None:
    fill(stores, lambda n: {"a": float(n), "b_total": float(n)}, 30)
    rollups.roll_up(stores, "h", START_S, START_S + 70)
    fill(stores, lambda n: {"a": float(n), "b_total": float(n)}, 30, first=30)
    rollups.roll_up(stores, "h", START_S + 70, START_S + 600)

    found = rows_of(stores.five_minutes)
    assert [found[at_s]["a|count"] for at_s in sorted(found)] == [30.0, 30.0]
    assert [found[at_s]["b_total|increase"] for at_s in sorted(found)] == [29.0, 30.0]


def test_buckets_whose_raw_rows_are_gone_stay(stores: Tiers) -> None:
    fill(stores, lambda _: {"a": 1.0}, 60)
    rollups.roll_up(stores, "h", START_S, START_S + 600)
    stores.raw.expire("h", math.inf)

    assert rollups.roll_up(stores, "h", START_S, START_S + 600) == 0
    assert len(rows_of(stores.five_minutes)) == 2


def test_what_is_missing_is_healed_and_the_rest_left(stores: Tiers) -> None:
    fill(stores, lambda _: {"a": 1.0}, 100)
    rollups.roll_up(stores, "h", START_S, START_S + 300)
    now_s = START_S + 1020.0

    assert rollups.heal(stores, "h", now_s, since_s=START_S) == 2
    assert rollups.heal(stores, "h", now_s, since_s=START_S) == 0
    assert list(rows_of(stores.five_minutes)) == [START_S, START_S + 300, START_S + 600]


def test_sealing_rolls_up_what_it_commits(valkey_url: str) -> None:
    stores = tiers.of_redis(RedisStore(valkey_url), Retention(), url=valkey_url)
    fill(stores, lambda n: {"a": float(n)}, 400)
    stores.raw.seal(
        "h", START_S + 3 * HOUR_S, before_commit=lambda a, b: rollups.roll_up(stores, "h", a, b)
    )

    assert sum(row["a|count"] for row in rows_of(stores.five_minutes).values()) == 400.0
    assert sum(row["a|count"] for row in rows_of(stores.hours).values()) == 400.0


def test_tiers_have_keys_and_an_expiry_of_their_own(valkey_url: str) -> None:
    with connection.connect(valkey_url) as client:
        kept = Retention(raw=7200, five_minutes=86_400, hours=864_000)
        stores = tiers.of_redis(RedisStore("", client=client), kept, client=client)
        stores.five_minutes.append("h", START_S // 300, {"a|min": 1.0})
        stores.hours.append("h", START_S // 3600, {"a|min": 1.0})

        assert stores.raw.hosts() == []
        for tier, kept_s in (("or:ts5m", 86_400), ("or:ts1h", 864_000)):
            ttls = [client.ttl(key) for key in client.keys(f"{tier}:h:*")]
            assert ttls
            assert all(kept_s <= ttl for ttl in ttls)


# One row a minute for four hours, of which some are missing, in any order.
VALUES = st.one_of(st.integers(0, 1000).map(float), st.just(math.nan))
MANY = st.dictionaries(
    st.integers(0, 239),
    st.fixed_dictionaries({}, optional={"a": VALUES, "b_total": VALUES, "c_total": VALUES}),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(many=MANY, shuffle=st.randoms(use_true_random=False))
def test_in_whatever_order_rows_come_roll_ups_are_those_of_rows_in_order(
    many: dict[int, dict[str, float]], shuffle: Any
) -> None:
    at_once, one_by_one = in_memory(60.0), in_memory(60.0)
    first = START_S // 60
    for number in sorted(many):
        at_once.raw.append("h", first + number, many[number])
    rollups.roll_up(at_once, "h", START_S, START_S + 4 * HOUR_S)
    numbers = list(many)
    shuffle.shuffle(numbers)
    for number in numbers:
        one_by_one.raw.append("h", first + number, many[number])
        at_s = START_S + 60 * number
        rollups.roll_up(one_by_one, "h", at_s, at_s + 60)

    assert rows_of(at_once.five_minutes) == rows_of(one_by_one.five_minutes)
    assert rows_of(at_once.hours) == rows_of(one_by_one.hours)


@settings(max_examples=100, deadline=None)
@given(many=MANY)
def test_increases_of_every_tier_add_up_to_the_growth(many: dict[int, dict[str, float]]) -> None:
    stores = in_memory(60.0)
    growth, before = 0.0, math.nan
    for number in sorted(many):
        stores.raw.append("h", START_S // 60 + number, many[number])
        now = many[number].get("b_total", math.nan)
        if not math.isnan(now):
            growth += 0 if math.isnan(before) else now - before if now >= before else now
            before = now
    rollups.roll_up(stores, "h", START_S, START_S + 4 * HOUR_S)

    for store in (stores.five_minutes, stores.hours):
        assert growth == sum(store.read("h", "b_total|increase", START_S, END_S)[1])
