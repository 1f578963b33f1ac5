from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.errors import BadArgument
from outrider.settings import Retention
from outrider.store import rollups, tiers
from outrider.store.memory import MemoryStore
from outrider.store.query import query
from outrider.store.redis import RedisStore
from outrider.store.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.store.query import Band

HOUR_S = 3600
DAY_S = 86_400
START_S = 1_700_000_000 // DAY_S * DAY_S


def in_memory(interval_s: float = 10.0) -> Tiers:
    return Tiers(
        MemoryStore(interval_s=interval_s),
        MemoryStore(interval_s=300.0),
        MemoryStore(interval_s=3600.0),
    )


def filled(
    value: Callable[[int], float],
    hours: float,
    *,
    name: str = "a",
    rolled_up_h: float | None = None,
    raw_from_h: float = 0,
    five_from_h: float = 0,
    step_s: int = 60,
) -> Tiers:
    """Stores with a row a minute, rolled up as far as told, the older part of fine tiers gone."""
    stores = in_memory(step_s)
    for number in range(int(hours * HOUR_S / step_s)):
        stores.raw.append("h", START_S // step_s + number, {name: value(number)})
    until_s = START_S + (hours if rolled_up_h is None else rolled_up_h) * HOUR_S
    rollups.roll_up(stores, "h", START_S, until_s)
    stores.raw.expire("h", START_S + raw_from_h * HOUR_S)
    stores.five_minutes.expire("h", START_S + five_from_h * HOUR_S)
    return stores


def shown(band: Band) -> list[tuple[float, float, float, float]]:
    columns = (band.times_s - START_S, band.low, band.mean, band.high)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("hours", "points", "tier", "step_s"),
    [
        (1, 60, "raw", 60),  # a point a minute: only raw rows have that
        (1, 12, "5m", 300),
        (1, 13, "raw", 3600 / 13),  # five minutes would give fewer points than pixels
        (48, 48, "1h", 3600),
        (48, 100, "5m", 1728),
        (48, 24, "1h", 7200),
    ],
)
def test_the_coarsest_tier_that_gives_a_point_per_pixel_is_read(
    hours: int, points: int, tier: str, step_s: float
) -> None:
    stores = filled(float, 49)
    band = query(stores, "h", "a", START_S, START_S + hours * HOUR_S, points)

    assert (tier, points) == (band.tier, len(band.times_s))
    assert band.step_s == pytest.approx(step_s)


def test_points_have_least_mean_and_greatest_of_their_time() -> None:
    stores = filled(float, 3)

    band = query(stores, "h", "a", START_S, START_S + 2 * HOUR_S, 2)
    assert shown(band) == [(0.0, 0.0, 29.5, 59.0), (3600.0, 60.0, 89.5, 119.0)]
    assert band.last.tolist() == [59.0, 119.0]

    band = query(stores, "h", "a", START_S, START_S + 120, 120)
    assert shown(band) == [(0.0, 0.0, 0.0, 0.0), (60.0, 1.0, 1.0, 1.0)]


def test_what_is_not_rolled_up_yet_comes_from_the_finer_tier() -> None:
    stores = filled(float, 10, rolled_up_h=7.5)
    band = query(stores, "h", "a", START_S, START_S + 10 * HOUR_S, 10)

    assert [(HOUR_S * n, 60.0 * n, 60 * n + 29.5, 60 * n + 59.0) for n in range(10)] == shown(band)


def test_a_bucket_that_was_rolled_up_half_is_read_from_the_finer_tier() -> None:
    stores = filled(float, 2)
    stores.raw.append("h", START_S // 60 + 120, {"a": 1.0})
    rollups.roll_up(stores, "h", START_S + 7200, START_S + 7260)
    stores.raw.append("h", START_S // 60 + 121, {"a": 5000.0})
    band = query(stores, "h", "a", START_S, START_S + 3 * HOUR_S, 3)

    assert band.high[-1] == 5000.0
    assert len(band.times_s) == 3


def test_what_a_tier_no_longer_has_comes_from_the_coarser_one() -> None:
    stores = filled(float, 30, raw_from_h=20, five_from_h=10)
    band = query(stores, "h", "a", START_S, START_S + 30 * HOUR_S, 1000)

    assert np.diff(band.times_s).tolist().count(3600) == 10
    assert np.diff(band.times_s).tolist().count(300) >= 100
    assert (band.low.min(), band.high.max()) == (0.0, 1799.0)
    assert (band.times_s[0], band.times_s[-1]) == (START_S, START_S + 30 * HOUR_S - 60)
    whole = query(stores, "h", "a", START_S, START_S + 30 * HOUR_S, 1)
    assert shown(whole)[0] == pytest.approx((0.0, 0.0, 1799 / 2, 1799.0))


def test_no_sample_counts_twice_at_a_joint() -> None:
    stores = filled(lambda _: 1.0, 30, rolled_up_h=29.3, raw_from_h=20, five_from_h=10, name="a")
    rate = filled(float, 30, rolled_up_h=29.3, raw_from_h=20, five_from_h=10, name="a_total")
    for points in (1, 7, 30, 100, 1000):
        band = query(stores, "h", "a", START_S, START_S + 30 * HOUR_S, points)
        assert band.mean.tolist() == [1.0] * len(band.times_s)
        band = query(rate, "h", "a_total", START_S, START_S + 30 * HOUR_S, points)
        assert band.mean[1:] == pytest.approx([1 / 60] * (len(band.times_s) - 1))


def test_a_host_that_is_gone_keeps_its_last_hour() -> None:
    stores = filled(float, 5, raw_from_h=5, five_from_h=5)
    band = query(stores, "h", "a", START_S, START_S + 48 * HOUR_S, 48)

    assert (band.times_s - START_S).tolist() == [0.0, 3600.0, 7200.0, 10_800.0, 14_400.0]
    assert band.high[-1] == 299.0


@pytest.mark.parametrize("points", [4, 48, 240, 10_000])
def test_a_counter_is_a_rate_per_second_from_its_increases(points: int) -> None:
    stores = filled(lambda n: 30.0 * (n % 100), 4, name="a_total")  # begins anew each 100 minutes
    band = query(stores, "h", "a_total", START_S, START_S + 4 * HOUR_S, points)
    took_s = np.diff(np.append(band.times_s, START_S + 4 * HOUR_S))

    # 239 steps of 30, save two where it began anew at 0.
    assert band.last[-1] == 30.0 * 39
    growth = (band.mean * took_s).sum()
    assert growth == pytest.approx(237 * 30, rel=0.01 if points > 4 else 0.02)
    assert band.high.max() <= 0.5


@pytest.mark.parametrize("points", [6, 72, 10_000])
def test_the_rate_over_a_gap_is_no_spike(points: int) -> None:
    stores = in_memory(60)
    for number in range(360):
        if not 60 <= number < 300:
            stores.raw.append("h", START_S // 60 + number, {"a_total": 60.0 * number})
    rollups.roll_up(stores, "h", START_S, START_S + 6 * HOUR_S)
    band = query(stores, "h", "a_total", START_S, START_S + 6 * HOUR_S, points)

    assert band.high.max() == pytest.approx(1.0, rel=0.02)


def test_an_empty_range_an_unknown_series_and_an_unknown_host_give_an_empty_band() -> None:
    stores = filled(float, 1)
    for host, series, end_s in (
        ("h", "a", START_S), ("h", "b", START_S + 60), ("x", "a", START_S + 60),
        ("h", "b_total", START_S + DAY_S),
    ):  # fmt: skip
        assert len(query(stores, host, series, START_S, end_s, 10).times_s) == 0


@pytest.mark.parametrize("points", [0, -1, 100_001])
def test_points_beyond_bounds_are_refused(points: int) -> None:
    with pytest.raises(BadArgument, match=f"points = {points}; expected 1 to 100000"):
        query(in_memory(), "h", "a", 0, 1, points)


def test_measured_nans_and_infinities() -> None:
    special = {3: math.nan, 4: math.inf, 5: -math.inf}
    stores = filled(lambda n: special.get(n, float(n)), 1)
    band = query(stores, "h", "a", START_S, START_S + HOUR_S, 1)

    assert (band.low[0], band.high[0], band.last[0]) == (-math.inf, math.inf, 59.0)
    assert math.isnan(band.mean[0])
    raw = query(stores, "h", "a", START_S, START_S + HOUR_S, 60)
    assert len(raw.times_s) == 59


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=240),
    rolled_up_m=st.integers(0, 260),
    raw_from_h=st.integers(0, 4),
    from_h=st.integers(0, 3),
    until_h=st.integers(1, 5),
    points=st.integers(1, 300),
)
def test_no_spike_vanishes(
    values: list[float],
    *,
    rolled_up_m: int,
    raw_from_h: int,
    from_h: int,
    until_h: int,
    points: int,
) -> None:
    rolled_up_m = max(rolled_up_m, 60 * raw_from_h)  # nothing expires that is not rolled up
    stores = filled(
        lambda n: values[n],
        len(values) / 60,
        rolled_up_h=rolled_up_m / 60,
        raw_from_h=raw_from_h,
    )
    start_s, end_s = START_S + from_h * HOUR_S, START_S + until_h * HOUR_S
    band = query(stores, "h", "a", start_s, end_s, points)
    there = values[from_h * 60 : max(until_h, from_h) * 60]

    assert len(band.times_s) <= points
    assert bool(there) == bool(len(band.times_s))
    if there:
        assert (min(there), max(there)) == (band.low.min(), band.high.max())
        assert there[-1] == band.last[-1]


def test_a_real_server_gives_the_same_band(valkey_url: str) -> None:
    memory = filled(float, 4, rolled_up_h=3.5, step_s=10)
    real = tiers.of_redis(RedisStore(valkey_url), Retention(), url=valkey_url)
    for number in range(4 * 360):
        real.raw.append("h", START_S // 10 + number, {"a": float(number)})
    real.raw.seal(
        "h", START_S + 2.5 * HOUR_S, before_commit=lambda a, b: rollups.roll_up(real, "h", a, b)
    )
    for points in (4, 48, 100, 3000):
        expected = query(memory, "h", "a", START_S, START_S + 4 * HOUR_S, points)
        assert shown(expected) == shown(
            query(real, "h", "a", START_S, START_S + 4 * HOUR_S, points)
        )


@pytest.mark.parametrize(("from_h", "points"), [(5, 1), (5, 12), (4, 2), (4, 24), (2, 4)])
def test_the_rate_over_a_gap_before_the_range_is_no_spike(from_h: int, points: int) -> None:
    stores = in_memory(60)
    for number in [*range(60), *range(300, 360)]:
        stores.raw.append("h", START_S // 60 + number, {"a_total": 60.0 * number})
    rollups.roll_up(stores, "h", START_S, START_S + 6 * HOUR_S)
    band = query(stores, "h", "a_total", START_S + from_h * HOUR_S, START_S + 6 * HOUR_S, points)

    assert band.high.max() == pytest.approx(1.0, rel=0.02)
    assert len(band.times_s) > 0
