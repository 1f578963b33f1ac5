from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from outrider.metrics import exposed
from outrider.metrics.exposed import BadPage


@pytest.fixture
def registry() -> CollectorRegistry:
    """What a bot instrumented with Prometheus' own client exposes."""
    registry = CollectorRegistry()
    Counter("updates", "Updates.", ["kind"], registry=registry).labels("text").inc(3)
    Counter("cpu_seconds", "CPU.", registry=registry).inc(1.5)
    Gauge("heap_bytes", "Heap.", ["area"], registry=registry).labels("old").set(1024)
    Histogram("took_seconds", "Time.", ["handler"], registry=registry).labels("start").observe(0.3)
    Summary("size_bytes", "Size.", registry=registry).observe(100)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    return registry


EXPECTED = {
    "updates.kind_text_total": 3.0,
    "cpu_seconds_total": 1.5,
    "heap.area_old_bytes": 1024.0,
    "took.handler_start.count": 1.0,
    "took.handler_start.sum_s": 0.3,
    "size.count": 1.0,
    "size.sum_bytes_total": 100.0,
}


def test_the_text_format_is_read(registry: CollectorRegistry) -> None:
    values = exposed.read(generate_latest(registry).decode()).values

    assert {name: values[name] for name in EXPECTED} == EXPECTED
    assert set(values) - set(EXPECTED) <= {"build_info.version_1"}


def test_openmetrics_is_read_the_same(registry: CollectorRegistry) -> None:
    generate: Any = openmetrics.generate_latest
    text = generate(registry).decode()

    assert exposed.read(text, "application/openmetrics-text; version=1.0.0").values == EXPECTED


def test_quantiles_of_a_summary_are_its_own() -> None:
    text = '# TYPE t_seconds summary\nt_seconds{quantile="0.99"} 2\nt_seconds_count 5\n'

    assert exposed.read(text).values == {"t.p99_s": 2.0, "t.count": 5.0}


@pytest.mark.parametrize(
    "wanted", [["took_seconds"], ["took_*"], ["took_seconds_bucket", "took_seconds_count"]]
)
def test_a_histogram_is_wanted_by_its_name_or_by_its_parts(
    registry: CollectorRegistry, wanted: list[str]
) -> None:
    found = exposed.read(generate_latest(registry).decode(), wanted=wanted)

    assert "took.handler_start" in found.histograms
    assert "took.handler_start.count" in found.values
    assert not any(name.startswith("updates") for name in found.values)


def test_a_counter_that_can_not_be_one_is_dropped() -> None:
    found = exposed.read("# TYPE a counter\na_total NaN\n# TYPE b counter\nb_total -1\nc_total 1\n")

    assert (found.values, found.dropped) == ({"c_total": 1.0}, 2)


def test_the_noise_of_adding_up_is_not_kept() -> None:
    assert exposed.read("# TYPE t counter\nt_total 1769.999999999823\n").values == {
        "t_total": 1770.0
    }


def test_labels_that_fold_into_one_name_are_counted() -> None:
    found = exposed.read('q{a="x y"} 1\nq{a="x_y"} 2\n')

    assert (found.values, found.dropped) == ({"q.a_x_y": 1.0}, 1)


def test_a_gauge_may_be_any_number() -> None:
    values = exposed.read("# TYPE a gauge\na NaN\n# TYPE b gauge\nb -Inf\n").values

    assert math.isnan(values["a"])
    assert values["b"] == -math.inf


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 0.99, 1.0])
def test_a_quantile_is_within_the_bucket_that_holds_it(share: float) -> None:
    bounds = [0.1, 0.2, 0.5, 1.0, 2.0, math.inf]
    observed = sorted(number / 700 for number in range(1000))
    buckets = {bound: float(sum(value <= bound for value in observed)) for bound in bounds}
    exact = observed[min(999, int(share * 1000))]
    found = exposed.quantile(buckets, share)

    upper = next(bound for bound in bounds if bound >= exact)
    lower = max([0.0, *(bound for bound in bounds if bound < exact)])
    assert lower <= found <= upper


def test_above_the_last_bound_only_that_is_known() -> None:
    assert exposed.quantile({1.0: 0.0, math.inf: 5.0}, 0.5) == 1.0
    assert math.isnan(exposed.quantile({math.inf: 5.0}, 0.5))


def test_nothing_observed_has_no_quantile() -> None:
    assert math.isnan(exposed.quantile({}, 0.5))
    assert math.isnan(exposed.quantile({1.0: 0.0, math.inf: 0.0}, 0.5))


def test_a_histogram_that_began_anew_counts_from_there() -> None:
    first = exposed.read('# TYPE h histogram\nh_bucket{le="1"} 9\nh_bucket{le="+Inf"} 9\n')
    again = exposed.read('# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 4\n')
    exposed.quantiles(again, exposed.quantiles(first, {}))

    assert again.values["h.p50"] == 1.0


@given(st.text(max_size=200))
def test_whatever_is_served_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadPage):
        exposed.read(text)


@given(st.lists(st.sampled_from(["a", "{", "}", '"', "=", ",", " ", "1", "\n", "#", "le", "NaN"])))
def test_whatever_looks_like_metrics_is_read_or_refused(parts: list[str]) -> None:
    for kind in ("text/plain", "application/openmetrics-text"):
        with contextlib.suppress(BadPage):
            exposed.read("".join(parts), kind)
