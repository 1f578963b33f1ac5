from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from outrider.analysis import diagnosis
from outrider.analysis.onset import Usual
from outrider.samples import Window
from tests.unit.analysis.fleet import BOTS, FAULT, NEEDS, TICKS, Fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.analysis.diagnosis import Diagnosis


def diagnosed(made: Fleet, **more: Any) -> Diagnosis:
    return diagnosis.diagnose(made.window(), host="h", graph=NEEDS, **more)


@pytest.mark.parametrize("seed", range(20))
def test_a_quiet_fleet_has_no_cause_and_nothing_to_do(seed: int) -> None:
    found = diagnosed(Fleet(seed=seed))

    assert (found.state, found.verdict) == ("ok", "All 4 bots are up; nothing is wrong.")
    assert (found.causes, found.recommendations, found.bottleneck) == ((), (), None)


def outside_hog(fleet: Fleet) -> None:
    fleet.since("host.cpu.used_ratio", 1.0).since("host.pressure.cpu.some_ratio", 0.8)
    for bot in BOTS:
        fleet.slow(bot, seconds=0.15)


def noisy_neighbour(fleet: Fleet) -> None:
    fleet.since("bot.ledger.cpu_ratio", 1.0).since("host.cpu.used_ratio", 0.95)
    fleet.since("host.pressure.cpu.some_ratio", 0.5)


def leak(fleet: Fleet) -> None:
    fleet.since("bot.courier.rss_bytes", 80e6 + 5e6 * np.arange(TICKS - FAULT))


def slow_database(fleet: Fleet) -> None:
    for bot in BOTS:
        fleet.slow_queries(bot, seconds=0.3).slow(bot, seconds=0.7)
        fleet.since(f"bot.{bot}.db.pool.used_ratio", 1.0).since(f"bot.{bot}.db.pool.waiting", 2)


def slow_queries_of_one(fleet: Fleet) -> None:
    fleet.slow_queries("ledger", seconds=0.5).slow("ledger", seconds=0.6)


def exhausted_pool(fleet: Fleet) -> None:
    fleet.since("bot.canary.db.pool.used_ratio", 1.0).since("bot.canary.db.pool.waiting", 4)
    fleet.since("bot.canary.db.queries_total", 0).since("bot.canary.db.query_seconds_total", 0)
    fleet.since("bot.canary.handle_update.count", 0).since("bot.canary.handle_update.sum_s", 0)


def cold_cache(fleet: Fleet) -> None:
    fleet.since("bot.courier.cache.things.hits_total", 0)
    fleet.since("bot.courier.cache.things.misses_total", 9)


def stalled_redis(fleet: Fleet) -> None:
    for bot in BOTS:
        fleet.since(f"bot.{bot}.cache.things.away", 1)
        fleet.since(f"bot.{bot}.cache.things.fallbacks_total", 3)
        fleet.since(f"bot.{bot}.cache.things.hits_total", 2)
        fleet.since(f"bot.{bot}.cache.things.misses_total", 7)


def full_queue(fleet: Fleet) -> None:
    fleet.set("celery.workers.up", 1)
    fleet.since("celery.queue.outrider.cache.length", 100 * np.arange(TICKS - FAULT))


def slow_platform(fleet: Fleet) -> None:
    for bot in BOTS:
        fleet.slow(bot, seconds=1.2)


def stopped_platform(fleet: Fleet) -> None:
    fleet.since("bot.telegram.state", 4)
    fleet.since("bot.telegram.heartbeat_age_s", 1.0 + np.arange(TICKS - FAULT))
    for bot in BOTS:
        fleet.since(f"bot.{bot}.handle_update.count", 0).since(f"bot.{bot}.updates_total", 0)
        fleet.since(f"bot.{bot}.handle_update.sum_s", 0)


def blocked_loop(fleet: Fleet) -> None:
    fleet.since("bot.canary.loop_lag_s", 0.9).slow("canary", seconds=0.5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("make", "part", "bottleneck"),
    [
        (outside_hog, "outside", "CPU"),
        (noisy_neighbour, "process:ledger", "CPU"),
        (leak, "leak:courier", "memory"),
        (slow_database, "database", "database"),
        (slow_queries_of_one, "queries:ledger", "database"),
        (exhausted_pool, "pool:canary", "connection pool of canary"),
        (cold_cache, "cache:courier.things", "cache courier.things"),
        (stalled_redis, "redis", "Redis"),
        (full_queue, "queue:outrider.cache", "queue outrider.cache"),
        (slow_platform, "api", "platform's API"),
        (stopped_platform, "life:telegram", None),
        (blocked_loop, "loop:canary", "event loop of canary"),
    ],
)
def test_the_part_at_fault_is_named_first(
    make: Callable[[Fleet], None], part: str, bottleneck: str | None, seed: int
) -> None:
    fleet = Fleet(seed=seed)
    make(fleet)

    found = diagnosed(fleet)

    assert found.causes[0].part == part
    assert found.state == "warning"
    assert found.causes[0].words in found.verdict
    assert (found.bottleneck.resource if found.bottleneck else None) == bottleneck
    assert abs(found.causes[0].onset_s - (1000 + FAULT)) <= 3


def test_a_cause_says_what_it_explains_and_how_long_it_came_before() -> None:
    fleet = Fleet()
    for bot in BOTS:
        fleet.slow_queries(bot, seconds=0.3).slow(bot, seconds=0.7, at=FAULT + 4)

    (cause, *_) = diagnosed(fleet).causes

    assert cause.explains == BOTS
    assert cause.lead_s is not None
    assert 2 <= cause.lead_s <= 5
    assert cause.path == ("handlers:canary", "queries:canary", "database")
    assert cause.evidence[0].words.startswith("a query of")
    assert 0.5 <= cause.confidence <= 1


def test_what_began_after_the_symptom_does_not_explain_it() -> None:
    late = Fleet().slow("canary", seconds=0.9, at=30).since("bot.canary.loop_lag_s", 0.5, at=52)
    early = Fleet().slow("canary", seconds=0.9, at=30).since("bot.canary.loop_lag_s", 0.5, at=30)

    assert "api:canary" in [cause.part for cause in diagnosed(late).causes]
    assert [cause.part for cause in diagnosed(early).causes] == ["loop:canary"]


def test_a_bot_that_is_down_is_critical_with_its_cause() -> None:
    found = diagnosed(Fleet().since("bot.canary.up", 0))

    assert found.state == "critical"
    assert found.verdict.startswith("1 of 4 bots down: canary. canary does not run")


def test_a_wild_tick_is_no_cause() -> None:
    fleet = Fleet().since("bot.canary.loop_lag_s", 30.0, at=TICKS - 1)
    fleet.columns["bot.ledger.rss_bytes"][50] = 1e12

    assert diagnosed(fleet).causes == ()


def test_a_busier_hour_is_no_cause() -> None:
    fleet = Fleet()
    for name in list(fleet.columns):
        if name.endswith((".count", ".sum_s", "_total")):
            fleet.columns[name][FAULT:] *= 3

    assert diagnosed(fleet).causes == ()


def test_rows_that_could_not_be_stored_while_caches_had_no_redis_speak_of_redis() -> None:
    fleet = Fleet()
    for bot in BOTS:
        fleet.since(f"bot.{bot}.cache.things.fallbacks_total", 4)
    window = fleet.window()
    keep = np.r_[0:FAULT, TICKS - 3 : TICKS]
    window = Window(window.names, window.times_s[keep], window.values[keep])

    found = diagnosis.diagnose(window, host="h", graph=NEEDS)

    assert found.causes[0].part == "redis"
    assert "rows.missing" in [each.series for each in found.causes[0].evidence]


def test_the_row_of_the_fleet_is_read_beside_that_of_the_host() -> None:
    times_s = np.arange(1000.0, 1000.0 + TICKS)
    up = np.where(np.arange(TICKS) < FAULT, 1.0, 0.0)
    rows = Window(("db.server.up",), times_s, up[:, np.newaxis])

    assert diagnosed(Fleet(), fleet=rows).causes[0].part == "database"
    assert diagnosed(Fleet()).causes == ()


def test_what_is_usual_may_come_from_a_longer_memory_than_the_window() -> None:
    fleet = Fleet().set("bot.canary.loop_lag_s", 0.6)  # all along, as far as this window goes
    usual = {"bot.canary.loop_lag_s": Usual(center=0.002, spread=0.001)}

    assert diagnosed(fleet).causes == ()
    assert diagnosed(fleet, history=usual).causes[0].part == "loop:canary"


def test_a_diagnosis_is_plain_data() -> None:
    fleet = Fleet()
    slow_database(fleet)

    plain = json.loads(json.dumps(dataclasses.asdict(diagnosed(fleet)), allow_nan=False))

    assert plain["causes"][0]["part"] == "database"
    assert plain["recommendations"][0]["verify"]["direction"] == "fall"


def test_too_little_is_no_reason_to_say_anything() -> None:
    empty = Window((), np.empty(0), np.empty((0, 0)))

    assert diagnosis.diagnose(empty, host="h").verdict == "Nothing is wrong."
    assert diagnosed(Fleet(ticks=3)).causes == ()


NAMES = tuple(Fleet().columns)


@settings(max_examples=40, deadline=None)
@given(
    values=arrays.arrays(
        np.float64, (24, len(NAMES)), elements=st.floats(allow_nan=True, allow_infinity=True),
        fill=st.sampled_from([0.0, 1.0, np.nan]),
    ),
    steps=st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.4, 7.0, 500.0]), min_size=24, max_size=24),
)  # fmt: skip
def test_hostile_rows_are_survived(values: np.ndarray, steps: list[float]) -> None:
    window = Window(NAMES, np.cumsum(steps), values)

    found = diagnosis.diagnose(window, host="h", graph=NEEDS)

    json.dumps(dataclasses.asdict(found), allow_nan=False)
