from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from outrider.analysis import limits, outlook

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIB = 2**20
TIMES = np.arange(0.0, 6 * 3600, 10.0)
SERIES = {
    "host.disk.used_ratio": 0.5 + TIMES / TIMES[-1] * 0.3,
    "host.memory.used_ratio": np.full(len(TIMES), 0.6),
    "bot.canary-2.rss_bytes": 100 * MIB + TIMES * 0.002 * MIB,
    "bot.echo.rss_bytes": TIMES,
    "celery.queue.outrider.host.alpha.length": np.full(len(TIMES), 20.0),
    "host.load.1m": TIMES,
}


def past(series: str) -> tuple[Floats, Floats]:
    return TIMES, SERIES[series]


def looked() -> outlook.Outlook:
    values = {name: float(column[-1]) for name, column in SERIES.items()}
    return outlook.look(values, past, now_s=float(TIMES[-1]), memory_limits={"canary": 300 * MIB})


def test_every_limit_of_a_host_is_named_the_soonest_first() -> None:
    found = looked().limits

    assert [(each.what, each.series) for each in found] == [
        ("disk", "host.disk.used_ratio"),
        ("memory limit", "bot.canary-2.rss_bytes"),
        ("memory", "host.memory.used_ratio"),
        ("queue", "celery.queue.outrider.host.alpha.length"),
    ]
    assert found[0].eta_s == pytest.approx(4 * 3600, rel=0.1)
    assert found[0].lower_s is not None
    assert found[2].eta_s is None
    assert (found[3].limit, found[3].used_ratio) == (100.0, 0.2)


def test_a_bot_without_a_limit_has_none() -> None:
    assert limits._limit("bot.echo.rss_bytes", {"canary": 1}) is None
    assert limits._limit("bot.canary.rss_bytes", {"canary": 5}) == ("memory limit", 5.0)


def test_what_heads_for_a_limit_is_forecast_with_it() -> None:
    found = {each.series: each for each in looked().forecasts}

    assert set(found) == {
        "host.disk.used_ratio",
        "bot.canary-2.rss_bytes",
        "host.memory.used_ratio",
    }
    disk = found["host.disk.used_ratio"]
    assert disk.limit == 1.0
    assert disk.times_s[0] > TIMES[-1]
    assert all(low <= mean <= high for low, mean, high in
               zip(disk.lower, disk.mean, disk.upper, strict=True))  # fmt: skip


def test_days_of_history_forecast_the_day() -> None:
    times = np.arange(0.0, 6 * 86_400, 300.0)
    values = 50 + 20 * np.sin(2 * np.pi * times / 86_400)
    found = outlook.ahead("x", times, values)

    assert found is not None
    assert len(found.mean) == outlook.PER_DAY
    expected = 50 + 20 * np.sin(2 * np.pi * (np.array(found.times_s) - 900) / 86_400)
    assert found.mean == pytest.approx(expected.tolist(), abs=3)


@pytest.mark.parametrize("count", [0, 1, outlook.LEAST_STEPS - 1])
def test_too_little_history_is_not_forecast(count: int) -> None:
    assert outlook.ahead("x", TIMES[:count], TIMES[:count]) is None


def test_an_outlook_survives_its_way_through_redis_and_damage_is_none() -> None:
    found = looked()

    assert outlook.loads(msgspec.json.encode(found)) == found
    assert outlook.loads(None) is None
    assert outlook.loads(b"{") is None
    assert outlook.loads(b'{"at_s": "x"}') is None
