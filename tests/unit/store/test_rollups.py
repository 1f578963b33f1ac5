from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from outrider.samples import Window
from outrider.store import connection, rollups
from outrider.store.memory import MemoryStore
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from outrider.store.base import SeriesStore

START_S = 1_700_000_100
NOW_S = START_S + 3600.0


@pytest.fixture
def raw() -> MemoryStore:
    store = MemoryStore()
    for number in range(360):
        store.append("h", START_S // 10 + number, {"a": float(number % 30), "b": math.nan})
    return store


@pytest.fixture(params=["memory", "valkey"])
def summaries(request: pytest.FixtureRequest) -> SeriesStore:
    if request.param == "memory":
        return MemoryStore(interval_s=rollups.STEP_S)
    return rollups.target(request.getfixturevalue("valkey_url"))


def test_five_minutes_become_their_least_greatest_and_mean(
    raw: MemoryStore, summaries: SeriesStore
) -> None:
    assert rollups.advance(raw, summaries, "h", NOW_S) == 12
    window = summaries.window("h", START_S, NOW_S)

    assert {"a|min", "a|max", "a|mean"} == set(window.names)
    assert [
        [window.column(f"a|{what}")[row] for what in ("min", "max", "mean")] for row in range(12)
    ] == [[0.0, 29.0, 14.5]] * 12
    assert window.times_s[0] == START_S


def test_summaries_are_made_once(raw: MemoryStore, summaries: SeriesStore) -> None:
    rollups.advance(raw, summaries, "h", NOW_S)

    assert rollups.advance(raw, summaries, "h", NOW_S) == 0
    assert rollups.advance(raw, summaries, "h", NOW_S + 299) == 0


def test_five_minutes_that_are_not_over_wait(raw: MemoryStore, summaries: SeriesStore) -> None:
    assert rollups.advance(raw, summaries, "h", START_S + 299.0) == 0
    assert rollups.advance(raw, summaries, "h", START_S + 300.0) == 1


def test_what_nobody_summarised_is_caught_up_with(raw: MemoryStore, summaries: SeriesStore) -> None:
    rollups.advance(raw, summaries, "h", START_S + 600.0)

    assert rollups.advance(raw, summaries, "h", NOW_S + rollups.CAUGHT_UP_S - 1500) == 5


def test_nothing_measured_is_nothing_summarised(summaries: SeriesStore) -> None:
    assert rollups.advance(MemoryStore(), summaries, "h", NOW_S) == 0
    assert summaries.hosts() == []


def test_numbers_that_are_not_finite_do_not_count() -> None:
    window = Window(
        ("a", "b"),
        np.arange(3.0),
        np.array([[1.0, math.nan], [math.inf, -math.inf], [3.0, math.nan]]),
    )

    assert rollups.summary(window) == {"a|min": 1.0, "a|max": 3.0, "a|mean": 2.0}


def test_summaries_are_kept_for_a_month_apart_from_the_raw_rows(valkey_url: str) -> None:
    with connection.connect(valkey_url) as client:
        store = rollups.target("", client=client)
        store.append("h", START_S // 300, {"a|min": 1.0})

        assert RedisStore("", client=client).hosts() == []
        (rows,) = (key for key in client.keys("or:ts5m:h:*") if key[-1:].isdigit())
        assert client.ttl(rows) > 29 * 86_400
