from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from outrider.cache import advice, figures
from outrider.samples import Window


def window(**series: list[float]) -> Window:
    names = tuple(name.replace("__", ".") for name in series)
    count = len(next(iter(series.values())))
    return Window(names, np.arange(count, dtype=float), np.array(list(series.values())).T)


def row(ahead: dict[str, Any] | None = None, **recent: Any) -> dict[str, Any]:
    counted = {
        "calls": 1000.0, "hits": 900.0, "hits_memory": 900.0, "hit_ratio": 0.9, "misses": 100.0,
        "loads": 100.0, "load_s": 0.1, "entries": 500.0, "evicted": 0.0, "away": 0.0,
        "fallbacks": 0.0, "doubled_hit_ratio": 0.91, "halved_hit_ratio": 0.85,
    }  # fmt: skip
    return {
        "namespace": "prices", "gap_s": 10.0, "ttl_s": 60.0, "expected_reuse": 6.0,
        "ahead": ahead, "recent": counted | recent,
    }  # fmt: skip


def test_counters_are_added_over_bots_and_survive_a_restart() -> None:
    nan = float("nan")
    found = figures.by_namespace(
        [
            window(
                bot__a__cache__prices__hits_total=[10, 15, 3],
                bot__b__cache__prices__hits_total=[nan, 0, 2],
                bot__a__cache__prices__misses_total=[0, 0, 10],
                bot__a__cache__prices__loads_total=[0, 2, 4],
                bot__a__cache__prices__load_seconds_total=[0.0, 0.5, 1.0],
                bot__a__cache__prices__entries=[1, 2, 3],
                bot__a__cache__prices__doubled_hit_ratio=[nan, nan, 0.5],
                host__cpu__used_ratio=[0.1, 0.1, 0.1],
            )
        ]
    )
    assert list(found) == ["prices"]
    prices = found["prices"]
    assert (prices["hits"], prices["misses"], prices["calls"]) == (10, 10, 20)
    assert (prices["hit_ratio"], prices["load_s"], prices["entries"]) == (0.5, 0.25, 3)
    assert (prices["doubled_hit_ratio"], prices["halved_hit_ratio"]) == (0.5, None)


def test_a_cache_without_calls_has_no_ratio() -> None:
    prices = figures.by_namespace([window(bot__a__cache__x__y__hits_total=[5, 5])])["x.y"]
    assert (prices["calls"], prices["hit_ratio"], prices["load_s"]) == (0, None, None)


@pytest.mark.parametrize("told", [row(), row(calls=99.0, hit_ratio=0.0, hits=0.0)])
def test_what_pays_or_is_hardly_called_gets_no_advice(told: dict[str, Any]) -> None:
    assert advice.of([told]) == []
    assert advice.of([told | {"recent": None}]) == []


def test_values_that_expire_before_they_are_asked_for_should_live_longer() -> None:
    poor = row(hit_ratio=0.2, hits=200.0) | {"gap_s": 90.0, "expected_reuse": 60 / 90 - 0.3}
    [one] = advice.of([poor])
    assert one.setting == '@outrider.cached(ttl_s=360, namespace="prices")'
    assert "90" in one.evidence[1] or "1m30s" in one.evidence[1]
    assert one.verify is not None
    assert (one.verify.series, one.verify.direction) == ("cache.prices.hit_ratio", "rise")


def test_more_room_is_advised_only_where_the_curve_says_that_it_helps() -> None:
    [one] = advice.of([row(evicted=70.0, doubled_hit_ratio=0.95)])
    assert one.setting == '@outrider.cached(capacity=1000, namespace="prices")'
    assert "95%" in one.gain
    assert advice.of([row(evicted=70.0, doubled_hit_ratio=0.905)]) == []
    assert advice.of([row(evicted=0.0, doubled_hit_ratio=0.95)]) == []


def test_a_larger_budget_is_advised_where_loads_ahead_serve_and_many_are_refused() -> None:
    ahead = {"useful": 90, "wasted": 10, "refused": 400, "budget": 0.05}
    [one] = advice.of([row(ahead)])
    assert one.setting == "[warm] budgets = { prices = 0.1 }"
    assert advice.of([row(ahead | {"useful": 50, "wasted": 50})]) == []
    assert advice.of([row(ahead | {"refused": 50})]) == []


def test_a_cache_that_hardly_ever_hits_and_one_without_redis_are_told() -> None:
    [poor] = advice.of([row(hit_ratio=0.05, hits=50.0)])
    assert poor.setting == "outrider cache top prices"
    [away] = advice.of([row(away=2.0, fallbacks=12.0)])
    assert "2 caches of prices" in away.text


def test_what_costs_most_comes_first() -> None:
    cheap = row(hit_ratio=0.05, hits=50.0, load_s=0.001) | {"namespace": "cheap"}
    dear = row(hit_ratio=0.05, hits=50.0, load_s=1.0) | {"namespace": "dear"}
    assert ["dear" in each.text for each in advice.of([cheap, dear])] == [True, False]
