from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from ddsketch import DDSketch

from outrider import sketch
from outrider.settings import Retention
from outrider.store import connection
from outrider.store.sketches import FOLD_AT, SketchStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

HOUR_S = 3600
DAY_S = 86_400
START_S = 1_700_000_000 // DAY_S * DAY_S
TICK = START_S // 10
QUANTILES = (0.0, 0.5, 0.95, 0.99, 1.0)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> SketchStore:
    return SketchStore(client, retention=Retention())


def exact(values: list[float], q: float) -> float:
    return sorted(values)[math.floor(q * (len(values) - 1))]


def fill(store: SketchStore, ticks: int, *, first: int = 0) -> list[float]:
    """Ticks with twenty calls each, log-normal about a twentieth of a second."""
    rng, seen = random.Random(first), []
    for number in range(first, first + ticks):
        values = [rng.lognormvariate(-3, 1) for _ in range(20)]
        seen += values
        store.append("h", TICK + number, {"t": sketch.of(values), "other": {0: 1}})
    return seen


def off(expected: float, found: float) -> float:
    return abs(found - expected) / expected


@pytest.mark.parametrize("sealed_h", [0, 1, 3, 30])
def test_any_quantile_over_any_range_is_within_one_per_cent(
    store: SketchStore, sealed_h: int
) -> None:
    seen = fill(store, 2 * 360)
    for hour in range(sealed_h):
        store.seal("h", START_S + (hour + 1) * HOUR_S)
    merged = store.merged("h", "t", START_S, START_S + 2 * HOUR_S)

    assert len(seen) == sketch.count(merged)
    for q, found in zip(QUANTILES, sketch.quantiles(merged, QUANTILES), strict=True):
        assert off(exact(seen, q), found) <= 0.0101


def test_the_library_agrees(store: SketchStore) -> None:
    library = DDSketch(0.01)
    for value in fill(store, 100):
        library.add(value)
    store.seal("h", START_S + DAY_S)
    merged = store.merged("h", "t", START_S, START_S + HOUR_S)

    assert [library.get_quantile_value(q) for q in QUANTILES] == pytest.approx(
        sketch.quantiles(merged, QUANTILES)
    )


@pytest.mark.parametrize(("points", "steps"), [(2, 2), (24, 24), (720, 720)])
def test_quantiles_come_step_by_step_from_the_tier_that_fits(
    store: SketchStore, points: int, steps: int
) -> None:
    seen = fill(store, 720)
    store.seal("h", START_S + 90 * 60)  # the last half hour is not over
    times, table = store.quantiles(
        "h", "t", START_S, START_S + 2 * HOUR_S, (0.5, 1.0), points=points
    )

    assert times.tolist() == [START_S + 7200 / steps * n for n in range(steps)]
    each = len(seen) // steps
    for place in range(steps):
        part = seen[place * each : (place + 1) * each]
        assert off(exact(part, 0.5), table[place, 0]) <= 0.0101
        assert off(max(part), table[place, 1]) <= 0.0101


def test_a_tick_counts_once_before_and_after_it_is_folded(store: SketchStore) -> None:
    assert store.append("h", TICK, {"t": {0: 1}}) is True
    assert store.append("h", TICK, {"t": {0: 5}}) is False
    store.seal("h", START_S + DAY_S)
    store.append("h", TICK, {"t": {0: 7}})
    assert store.merged("h", "t", START_S, START_S + 10) == {0: 1}

    store.seal("h", START_S + DAY_S)
    assert store.merged("h", "t", START_S, START_S + 10) == {0: 1}
    assert store.merged("h", "t", START_S, START_S + 100 * HOUR_S) == {0: 1}


def test_a_late_tick_corrects_five_minutes_and_hours(store: SketchStore) -> None:
    fill(store, 360)
    store.seal("h", START_S + DAY_S)
    store.append("h", TICK + 360, {"t": {400: 3}})
    store.append("h", TICK - 1, {"t": {401: 2}})
    store.seal("h", START_S + DAY_S)

    for points in (2, 24, 800):
        times, table = store.quantiles(
            "h", "t", START_S - HOUR_S, START_S + 2 * HOUR_S, (1.0,), points=points
        )
        assert len(times) > 1
        assert table.max() == pytest.approx(sketch.value(401))
        assert table[-1, 0] == pytest.approx(sketch.value(400))


def test_sealing_twice_and_rows_before_a_chunk_is_over_change_nothing(store: SketchStore) -> None:
    seen = fill(store, FOLD_AT + 5)
    assert store.seal("h", START_S + 700.0) == 1
    seen += fill(store, 50, first=FOLD_AT + 5)
    assert store.seal("h", START_S + 1200.0) == 0
    for _ in range(2):
        store.seal("h", START_S + 2 * DAY_S)

        merged = store.merged("h", "t", START_S, START_S + HOUR_S)
        assert sketch.of(seen) == merged


def test_a_crash_between_roll_up_and_fold_changes_nothing(
    store: SketchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = fill(store, 100)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_both", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.seal("h", START_S + DAY_S)
    store.seal("h", START_S + DAY_S)

    assert sketch.of(seen) == store.merged("h", "t", START_S, START_S + HOUR_S)


def test_coarser_tiers_serve_what_finer_ones_no_longer_have(
    store: SketchStore, client: redis.Redis
) -> None:
    seen = fill(store, 360)
    store.seal("h", START_S + DAY_S)
    for key in [*client.keys("or:sk:h:*"), *client.keys("or:sk5m:h:*")]:
        client.delete(key)

    times, _ = store.quantiles("h", "t", START_S, START_S + HOUR_S, (0.5,), points=360)
    assert times.tolist() == [START_S]
    assert sketch.of(seen) == store.merged("h", "t", START_S, START_S + HOUR_S)


def test_what_is_no_sketch_is_counted_and_the_rest_is_kept(store: SketchStore) -> None:
    forged = {"bad": {10**9: 1}, "worse": {0: -1}, "empty": {}, "t": {0: 2}}

    assert store.append("h", TICK, forged) is True
    assert store.refused == 2
    assert store.merged("h", "t", START_S, START_S + 10) == {0: 2}
    assert store.append("h", TICK + 1, {"t": {}}) is False


def test_a_damaged_block_is_counted_and_skipped(store: SketchStore, client: redis.Redis) -> None:
    fill(store, 3)
    client.hset(f"or:sk:h:{START_S}", repr(START_S + 10.0), b"garbage")

    assert sketch.count(store.merged("h", "t", START_S, START_S + 30)) == 40
    assert store.damaged == 1
    store.seal("h", START_S + DAY_S)
    assert sketch.count(store.merged("h", "t", START_S, START_S + 30)) == 40

    client.hset(f"or:sk:h:{START_S}:sealed", "t", b"garbage")
    damaged = store.damaged
    assert sketch.count(store.merged("h", "t", START_S, START_S + 30)) == 40  # of five minutes
    assert store.damaged > damaged


def test_missing_roll_ups_are_healed(store: SketchStore, client: redis.Redis) -> None:
    fill(store, 100)
    now_s = START_S + 1030.0

    assert store.heal("h", now_s, since_s=START_S) == 3
    assert store.heal("h", now_s, since_s=START_S) == 0
    assert client.hlen(f"or:sk5m:h:{START_S}") == 3


def test_every_key_expires_and_old_chunks_are_forgotten(
    store: SketchStore, client: redis.Redis
) -> None:
    fill(store, 360)
    store.seal("h", START_S + DAY_S)
    fill(store, 1, first=360)
    assert all(0 < client.ttl(key) <= 432 * DAY_S for key in client.keys("or:sk*"))

    assert store.expire("h", START_S + 48 * HOUR_S) == 0
    assert store.expire("h", START_S + 49 * HOUR_S) == 1
    assert store.expire("h", START_S + 31 * DAY_S) == 2
    assert store.expire("h", START_S + 450 * DAY_S) == 1
    assert client.keys("or:sk*") == []
