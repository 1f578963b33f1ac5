from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from outrider.settings import Retention
from outrider.store import connection, keys, spans, tiers, upkeep
from outrider.store.query import query
from outrider.store.redis import RedisStore
from outrider.store.sketches import SketchStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.store.tiers import Tiers

HOUR_S = 3600
DAY_S = 86_400
START_S = 1_700_000_000 // DAY_S * DAY_S
KEPT = Retention(raw=2 * HOUR_S, five_minutes=DAY_S, hours=10 * DAY_S)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


@pytest.fixture
def stores(client: redis.Redis) -> Tiers:
    return tiers.of_redis(RedisStore("", client=client), KEPT, client=client)


@pytest.fixture
def sketches(client: redis.Redis) -> SketchStore:
    return SketchStore(client, retention=KEPT)


def fill(stores: Tiers, sketches: SketchStore, ticks: int) -> None:
    for number in range(ticks):
        tick = START_S // 10 + number
        stores.raw.append("h", tick, {"a": float(number), "b_total": float(number)})
        sketches.append("h", tick, {"t": {number % 7: 2}})


def test_sealing_compresses_rolls_up_and_says_how_much(
    stores: Tiers, sketches: SketchStore
) -> None:
    fill(stores, sketches, 720)
    done = upkeep.seal(stores, sketches, "h", START_S + 7300.0)

    assert done["sealed"] > 0
    assert done["buckets"] >= 24
    assert done["sketches"] > 0
    assert "damaged" not in done
    again = upkeep.seal(stores, sketches, "h", START_S + 7300.0)
    assert (again["sealed"], again["buckets"], again["sketches"]) == (0, 0, 0)


def test_damage_met_while_sealing_is_told(
    stores: Tiers, sketches: SketchStore, client: redis.Redis
) -> None:
    fill(stores, sketches, 10)
    client.hset(f"or:sk:h:{START_S}", repr(START_S + 10.0), b"garbage")

    assert upkeep.seal(stores, sketches, "h", START_S + 7300.0)["damaged"] >= 1


def test_what_is_damaged_or_refused_in_any_tier_is_a_series_that_is_always_there(
    stores: Tiers, sketches: SketchStore, client: redis.Redis
) -> None:
    assert upkeep.series(stores, sketches) == {"store.damaged_total": 0, "store.refused_total": 0}

    tick = START_S // HOUR_S
    stores.hours.append("h", tick, {"a": 1.0})
    head = spans.piece(spans.HEAD, tick, float(HOUR_S))
    client.hset(keys.piece("h", head.name, keys.HOURS), str(tick), b"garbage")
    stores.hours.read("h", "a", START_S, START_S + DAY_S)
    stores.raw.append("h", START_S // 10, {"a": 1.0})
    stores.raw.append("h", (START_S + DAY_S) // 10, {"a": 1.0})
    stores.raw.expire("h", START_S + HOUR_S)
    stores.raw.append("h", START_S // 10, {"a": 1.0})

    assert upkeep.series(stores, sketches) == {"store.damaged_total": 1, "store.refused_total": 1}


def test_each_tier_forgets_after_its_own_time(stores: Tiers, sketches: SketchStore) -> None:
    fill(stores, sketches, 720)
    upkeep.seal(stores, sketches, "h", START_S + 7300.0)
    upkeep.seal(stores, sketches, "h", START_S + 40.0 * DAY_S)

    def kept() -> list[bool]:
        return [store.last("h") is not None for store in stores.all()]

    upkeep.expire(stores, sketches, KEPT, "h", START_S + 4.0 * HOUR_S)
    assert kept() == [False, True, True]
    band = query(stores, "h", "a", START_S, START_S + 2 * HOUR_S, 1000)
    assert (band.low.min(), band.high.max()) == (0.0, 719.0)

    upkeep.expire(stores, sketches, KEPT, "h", START_S + 7.0 * DAY_S)
    assert kept() == [False, False, True]
    assert upkeep.hosts(stores) == ["h"]

    upkeep.expire(stores, sketches, KEPT, "h", START_S + 100.0 * DAY_S)
    assert kept() == [False, False, False]


def test_a_host_is_kept_up_by_one_at_a_time(client: redis.Redis) -> None:
    with upkeep.locked(client, "h") as first, upkeep.locked(client, "h") as second:
        assert (first, second) == (True, False)
        assert 0 < client.ttl("or:upkeep:h") <= 125
    with upkeep.locked(client, "h") as third:
        assert third


def test_a_lock_that_another_took_over_is_left_to_it(client: redis.Redis) -> None:
    with upkeep.locked(client, "h"):
        client.set("or:upkeep:h", "another")

    assert client.get("or:upkeep:h") == b"another"


def test_a_failure_gives_the_lock_back(client: redis.Redis) -> None:
    with pytest.raises(ZeroDivisionError), upkeep.locked(client, "h"):
        _ = 1 / 0
    assert client.exists("or:upkeep:h") == 0


def test_what_is_missing_is_healed(stores: Tiers, sketches: SketchStore) -> None:
    fill(stores, sketches, 100)

    done = upkeep.heal(stores, sketches, "h", START_S + 1030.0, since_s=START_S)
    assert done == {"buckets": 3, "sketches": 3}
    assert stores.five_minutes.ticks("h", 0, math.inf)[0] == START_S // 300
