from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from outrider.analysis import bottleneck

if TYPE_CHECKING:
    from outrider.analysis.bottleneck import Bottleneck


def fullest(values: dict[str, float]) -> Bottleneck | None:
    """The bottleneck of a row in which nothing changed."""
    return bottleneck.of(values, (), ())


def test_a_host_with_room_is_held_back_by_nothing() -> None:
    calm = {"host.cpu.used_ratio": 0.8, "host.memory.used_ratio": 0.9, "bot.a.loop_lag_s": 0.1}

    assert fullest(calm) is None
    assert fullest({}) is None


@pytest.mark.parametrize(
    ("series", "used", "resource"),
    [
        ("host.memory.used_ratio", 0.92, "memory"),
        ("host.cpu.used_ratio", 0.85, "CPU"),
        ("host.disk.used_ratio", 0.95, "disk space"),
        ("host.swap.used_ratio", 0.5, "swap"),
        ("host.pressure.io.some_ratio", 0.4, "disk throughput"),
        ("db.server.connections.used_ratio", 0.9, "database connections"),
        ("redis.memory.used_ratio", 0.9, "Redis memory"),
        ("bot.canary.db.pool.used_ratio", 0.9, "connection pool of canary"),
        ("bot.canary.loop_lag_s", 0.5, "event loop of canary"),
    ],
)
def test_a_resource_is_named_from_its_level_on_with_its_numbers(
    series: str, used: float, resource: str
) -> None:
    found = fullest({series: used})

    assert found is not None
    assert (found.resource, found.used_ratio) == (resource, used)
    assert series in found.evidence[0]
    assert fullest({series: used - 0.001}) is None


def test_the_most_saturated_is_named() -> None:
    found = fullest({"host.cpu.used_ratio": 0.99, "host.swap.used_ratio": 0.9})

    assert found is not None
    assert found.resource == "swap"


def test_the_bot_that_uses_most_is_the_cause() -> None:
    found = fullest(
        {"host.memory.used_ratio": 0.95, "bot.a.rss_bytes": 3 << 30, "bot.b.rss_bytes": 1 << 30}
    )

    assert found is not None
    assert found.cause == "a"
    assert found.evidence[1] == "a uses 3.0 GiB (75% of what all bots use)"


def test_no_bot_is_blamed_when_none_stands_out() -> None:
    found = fullest({"host.cpu.used_ratio": 0.95, **{f"bot.b{n}.cpu_ratio": 0.1 for n in range(3)}})

    assert found is not None
    assert found.cause is None
    assert "33%" in found.evidence[1]


def test_what_a_bot_calls_its_own_numbers_is_not_taken_for_a_share() -> None:
    found = fullest({"host.cpu.used_ratio": 0.95, "bot.a.x.cpu_ratio": 9.0, "bot.b.cpu_ratio": 1.0})

    assert found is not None
    assert found.cause == "b"
    assert fullest({"bot.a.x.loop_lag_s": 5.0}) is None


def test_nan_is_no_bottleneck() -> None:
    assert fullest({"host.cpu.used_ratio": math.nan, "bot.a.loop_lag_s": math.nan}) is None
