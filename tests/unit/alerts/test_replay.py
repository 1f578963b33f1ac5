from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from outrider.alerts import replay, rules
from outrider.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable


def stored(value: Callable[[int], float], ticks: int, name: str = "x") -> MemoryStore:
    store = MemoryStore(interval_s=10.0)
    for tick in range(1000, 1000 + ticks):
        store.append("h", tick, {name: value(tick - 1000), "other": 1.0})
    return store


def test_history_shows_when_a_rule_would_have_fired_and_for_how_long() -> None:
    store = stored(lambda tick: float(100 <= tick < 130), 500)
    found = replay.replay(store, rules.parse("r", "x > 0 for 1m"), "h", 10_000.0, 15_000.0)

    ((first, lasted_s),) = replay.firings(found.changes, 15_000.0)
    assert (first.instance, first.at_s, lasted_s) == ("x", 11_060.0, 240.0)
    assert found.ticks == 500
    assert [change.to for change in found.changes] == [
        "pending", "firing", "resolved", "inactive",
    ]  # fmt: skip
    assert found.peaks["x"].max() == 1.0


def test_what_fires_still_lasts_until_the_end_and_windows_reach_over_the_start() -> None:
    store = stored(float, 500)
    rule = rules.parse("r", "increase(x, 5m) >= 30")
    found = replay.replay(store, rule, "h", 14_000.0, 15_000.0)

    ((first, lasted_s),) = replay.firings(found.changes, 15_000.0)
    assert (first.at_s, lasted_s) == (14_000.0, 1_000.0)


@pytest.mark.parametrize(
    ("rule", "series", "value"),
    [
        ("anomaly(x) > 0", "x",
         lambda tick: 100.0 if 3480 <= tick < 3490 else 5.0 + math.sin(tick) + tick % 3),
        ("time_to_limit(host.disk.used_ratio) < 2h", "host.disk.used_ratio",
         lambda tick: 0.5 + max(0, tick - 3100) / 1000),
    ],
)  # fmt: skip
def test_what_the_analysis_said_is_computed_anew(
    rule: str, series: str, value: Callable[[int], float]
) -> None:
    store = stored(value, 3520, series)
    found = replay.replay(store, rules.parse("r", rule), "h", 44_300.0, 45_200.0)

    assert [first.instance for first, _ in replay.firings(found.changes, 45_200.0)] == [series]
