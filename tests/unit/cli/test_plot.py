from __future__ import annotations

import math

import numpy as np
import pytest

from outrider.cli import plot
from outrider.store.query import Band


def band(low: list[float], high: list[float]) -> Band:
    least, most = np.array(low), np.array(high)
    with np.errstate(invalid="ignore"):
        mean = (least + most) / 2
    return Band(np.arange(float(len(low))), least, most, mean, most, 1.0, "raw")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([1.0, 1.0], "▁▁"),
        ([math.nan, 2.0], " ▁"),
        ([0.0, math.inf, 8.0, -math.inf], "▁██▁"),
        ([float(n) for n in range(8)], "▁▂▃▄▅▆▇█"),
    ],
)
def test_sparklines(values: list[float], expected: str) -> None:
    assert expected == plot.sparkline(values)


def test_a_chart_shows_the_band_and_its_mean() -> None:
    lines = plot.chart(band([0.0, 0.0, 4.0], [0.0, 8.0, 4.0]), 0, 3, width=3, height=4)

    assert lines == [" ░ ", " ••", " ░ ", "•░ "]


def test_a_spike_in_a_shared_column_still_shows() -> None:
    drawn = plot.chart(
        band([0.0] * 100, [0.0] * 57 + [9.0] + [0.0] * 42), 0, 100, width=10, height=3
    )

    assert drawn[0] == "     ░    "


def test_gaps_stay_empty_and_nothing_gives_no_chart() -> None:
    assert plot.chart(band([], []), 0, 10, width=10, height=2) == []
    assert plot.chart(band([math.nan], [math.nan]), 0, 10, width=10, height=2) == []
    assert plot.chart(band([1.0], [1.0]), 0, 4, width=4, height=2) == ["    ", "•   "]


def test_infinities_do_not_stretch_a_chart() -> None:
    drawn = plot.chart(band([0.0, -math.inf], [1.0, math.inf]), 0, 2, width=2, height=2)

    assert drawn == ["•░", "░░"]


@pytest.mark.parametrize(
    ("series", "value", "expected"),
    [
        ("host.memory.used_bytes", 3 << 30, "3.0 GiB"),
        ("host.cpu.used_ratio", 0.256, "25.6%"),
        ("bot.a.handle.p95_s", 4.2e-7, "420 ns"),
        ("bot.a.uptime_s", 7260.0, "2h1m"),
        ("host.load.1m", 0.25, "0.25"),
        ("a", math.nan, "nan"),
        ("a", math.inf, "inf"),
        ("a", -0.0, "-0"),
        ("a", 1e300, "1e+300"),
    ],
)
def test_values_carry_their_unit(series: str, value: float, expected: str) -> None:
    assert expected == plot.number(series, value)
