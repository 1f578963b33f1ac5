"""Whatever a bot calls its series, Prometheus can read the scrape, and nothing vanishes unseen."""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from outrider.metrics import catalog
from outrider.samples import Row
from outrider.store import keys
from outrider.web import openmetrics
from outrider.web.cardinality import Cardinality
from outrider.web.exposition import Exposition, Other, Ready
from outrider.web.families import Families
from tests.unit.web.conftest import CELERY, full_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

OPEN = "application/openmetrics-text;version=1.0.0"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
Found = dict[tuple[str, str], float]
EVIL = [
    'a"} 1\n# TYPE evil counter\nevil_total 1', "a\\", "\\n", "\u202eabc", "🦊", "größe", "a b",
    " ", "# HELP x", "\ud800", '{le="1"}', "a,b=c", "x" * 5000, "a\r\nb", "\x00",
]  # fmt: skip


def scrape(
    *rows: Row,
    accept: str = "",
    exposition: Exposition | None = None,
    others: Iterable[Other] = (),
) -> str:
    exposition = exposition or Exposition()
    return exposition.render(rows, [], reachable=True, accept=accept, others=others)[0].decode()


def read(text: str, *, is_open: bool = False) -> Found:
    families = list((parse_open if is_open else parse_plain)(text))
    assert len(families) == len({family.name for family in families})
    found: Found = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def values(*rows: Row, others: Iterable[Other] = (), exposition: Exposition | None = None) -> Found:
    """Return ``(sample, labels) -> value``, as both parsers understand it."""
    kept = exposition or Exposition()
    plain = read(scrape(*rows, exposition=kept, others=others))
    openly = read(scrape(*rows, exposition=kept, others=others, accept=OPEN), is_open=True)
    assert plain == openly
    return plain


@pytest.mark.parametrize(
    ("series", "metric", "labels"),
    [
        ("host.cpu.used_ratio", "outrider_host_cpu_used_ratio", "host=a"),
        ("host.cpu.core.3.used_ratio", "outrider_host_cpu_core_used_ratio", "core=3,host=a"),
        ("host.load.1m", "outrider_host_load_1m", "host=a"),
        ("host.disk.read_bytes_total", "outrider_host_disk_read_bytes_total", "host=a"),
        ("bot.canary.rss_bytes", "outrider_bot_rss_bytes", "bot=canary,host=a"),
        ("bot.canary.loop_lag_s", "outrider_bot_loop_lag_seconds", "bot=canary,host=a"),
        ("bot.canary.cpu_seconds_total", "outrider_bot_cpu_seconds_total", "bot=canary,host=a"),
        ("bot.canary.updates_total", "outrider_bot_updates_total", "bot=canary,host=a"),
        ("bot.canary.db.pool.used", "outrider_bot_db_pool_used", "bot=canary,host=a"),
        ("bot.canary.queue.depth", "outrider_bot_queue_depth", "bot=canary,host=a"),
        (
            "bot.c.cache.mybots.loaders.price.hits_total",
            "outrider_bot_cache_hits_total",
            "bot=c,host=a,namespace=mybots.loaders.price",
        ),
        ("stack.beat.crashes_total", "outrider_stack_crashes_total", "host=a,part=beat"),
        ("host.pressure.io.some_ratio", "outrider_host_pressure_some_ratio", "host=a,resource=io"),
        ("statsd.jobs_total", "outrider_statsd_jobs_total", "host=a"),
    ],
)
def test_names_are_in_base_units_with_bounded_labels(series: str, metric: str, labels: str) -> None:
    assert values(Row("a", 0.0, {series: 3.0}))[metric, labels] == 3.0


def test_what_belongs_to_the_fleet_has_no_host() -> None:
    row = Row(keys.FLEET, 0.0, {"redis.ops_total": 9.0, "celery.queue.outrider.x.length": 2.0})
    found = values(row)
    assert found["outrider_redis_ops_total", ""] == 9.0
    assert found["outrider_celery_queue_length", "queue=outrider.x"] == 2.0


def test_a_timing_is_a_summary_in_seconds_with_its_quantiles() -> None:
    timing = {"bot.c.work.count": 4.0, "bot.c.work.sum_s": 2.5, "bot.c.work.max_s": 1.0}
    found = values(Row("a", 0.0, timing | {"bot.c.work.p95_s": 0.9, "bot.c.work.p50_s": 0.5}))
    assert found["outrider_bot_work_seconds_count", "bot=c,host=a"] == 4.0
    assert found["outrider_bot_work_seconds_sum", "bot=c,host=a"] == 2.5
    assert found["outrider_bot_work_max_seconds", "bot=c,host=a"] == 1.0
    assert found["outrider_bot_work_seconds", "bot=c,host=a,quantile=0.95"] == 0.9


def test_handlers_share_a_family_and_are_told_apart_by_label() -> None:
    parts = {"count": 4.0, "sum_s": 2.5, "p95_s": 0.9}
    row = {f"bot.c.handler.on.{name}.{part}": v for name in "ab" for part, v in parts.items()}
    found = values(Row("h", 0.0, row))
    for name in "ab":
        labels = f"bot=c,handler=on.{name},host=h"
        assert found["outrider_bot_handler_seconds_count", labels] == 4.0
        assert found["outrider_bot_handler_seconds", f"{labels},quantile=0.95"] == 0.9


def test_a_gauge_called_like_a_part_of_a_timing_is_no_timing() -> None:
    found = values(Row("a", 0.0, {"bot.c.queue.count": 4.0, "bot.c.oldest.max_s": 2.0}))
    assert found["outrider_bot_queue_count_total", "bot=c,host=a"] == 4.0
    assert found["outrider_bot_oldest_max_seconds", "bot=c,host=a"] == 2.0


def test_help_and_type_come_from_the_catalogue() -> None:
    row = Row("a", 0.0, {"bot.c.restarts_total": 1.0})
    assert (
        "# HELP outrider_bot_restarts_total Starts after the first, wanted or not.\n"
        "# TYPE outrider_bot_restarts_total counter\n"
    ) in scrape(row)
    openly = scrape(row, accept=OPEN)
    assert "# TYPE outrider_bot_restarts counter\n" in openly
    assert openly.endswith("\n# EOF\n")


def test_label_values_are_escaped() -> None:
    host = 'a"} 1\\ <script>'
    row = Row(host, 0.0, {"host.load.1m": 1.0})
    assert r'host="a\"} 1\\ <script>"' in scrape(row)
    assert values(row)["outrider_host_load_1m", f"host={host}"] == 1.0


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
@pytest.mark.parametrize("shape", ["bot.{}.rss_bytes", "bot.c.{}", "bot.c.{}_total", "{}"])
def test_no_name_adds_a_line_of_its_own(evil: str, shape: str) -> None:
    row = Row(evil, 0.0, {shape.format(evil.replace(".", "")): 1.0})
    text = scrape(row)
    lines = [line for line in text.splitlines() if not line.startswith(("# HELP o", "# TYPE o"))]
    assert [line for line in lines if not line.startswith("outrider_")] == []
    assert 1.0 in [found for (name, _), found in values(row).items() if "exposition" not in name]


def test_names_that_fall_together_are_kept_apart_by_their_full_name() -> None:
    row = Row("a", 0.0, {"bot.c.a.b": 1.0, "bot.c.a b": 2.0, "bot.c.größe": 3.0})
    found = values(row)
    assert found["outrider_bot_a_b", "bot=c,host=a"] == 1.0
    assert found["outrider_bot_other_value", "bot=c,host=a,series=a b"] == 2.0
    assert found["outrider_bot_other_value", "bot=c,host=a,series=größe"] == 3.0


def test_no_bot_takes_the_name_of_a_built_in_metric() -> None:
    row = Row("a", 0.0, {"bot.c.rss_bytes_total": 1.0, "bot.c.rss_bytes": 5.0})
    found = values(row)
    assert found["outrider_bot_rss_bytes", "bot=c,host=a"] == 5.0
    assert found["outrider_bot_other_total", "bot=c,host=a,series=rss_bytes_total"] == 1.0


def test_a_name_keeps_its_meaning_whoever_comes_and_goes() -> None:
    exposition = Exposition()
    gauge, counter = {"bot.a.jobs": 1.0}, {"bot.b.jobs_total": 2.0}
    scrape(Row("h", 0.0, gauge), exposition=exposition)
    found = values(Row("h", 0.0, counter), exposition=exposition)
    assert found["outrider_bot_other_total", "bot=b,host=h,series=jobs_total"] == 2.0


def test_a_series_without_a_value_is_left_out() -> None:
    row = Row("a", 0.0, {"host.load.1m": math.nan})
    assert [key for key in values(row) if key[0].startswith("outrider_host")] == []


def test_infinities_are_written_as_prometheus_reads_them() -> None:
    row = Row("a", 0.0, {"bot.c.x": math.inf, "bot.c.y": -math.inf})
    found = values(row)
    assert found["outrider_bot_x", "bot=c,host=a"] == math.inf
    assert found["outrider_bot_y", "bot=c,host=a"] == -math.inf


def test_a_total_that_can_not_be_one_is_counted_as_refused() -> None:
    broken = {"bot.c.a_total": -1.0, "bot.c.t.count": 1.5, "bot.c.t.sum_s": math.inf}
    assert values(Row("a", 0.0, broken))["outrider_exposition_refused_samples", ""] == 3.0


# -- limits


def many(count: int, **more: float) -> Row:
    return Row("h", 0.0, {f"bot.b{n}.jobs_total": float(n) for n in range(count)} | more)


def test_what_is_beyond_the_limit_is_added_up_and_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exposition = Exposition(limits=Cardinality(per_family=10))
    with caplog.at_level(logging.WARNING):
        found = values(many(50), exposition=exposition)
    assert found["outrider_bot_jobs_total", "bot=b9,host=h"] == 9.0
    assert found["outrider_bot_jobs_total", "bot=overflow,host=overflow"] == sum(range(10, 50))
    assert found["outrider_exposition_overflow_series", ""] == 40.0
    family = "outrider_exposition_family_overflow_series"
    assert found[family, "family=outrider_bot_jobs"] == 40.0
    assert len(caplog.records) == 1  # once, though there were two scrapes
    assert "40 of outrider_bot_jobs" in exposition.notices()[0]


def test_an_overflow_never_falls_whoever_goes() -> None:
    exposition = Exposition(limits=Cardinality(per_family=1))

    def overflow(**readings: float) -> float:
        row = Row("h", 0.0, {f"bot.{bot}.jobs_total": value for bot, value in readings.items()})
        text = scrape(row, exposition=exposition)
        return read(text)["outrider_bot_jobs_total", "bot=overflow,host=overflow"]

    assert overflow(a=1.0, b=10.0, c=100.0) == 110.0
    assert overflow(a=1.0, b=12.0, c=103.0) == 115.0
    assert overflow(a=1.0, b=13.0) == 116.0  # c is gone
    assert overflow(a=1.0, b=2.0) == 118.0  # b began anew


def test_of_gauges_the_overflow_is_the_greatest() -> None:
    exposition = Exposition(limits=Cardinality(per_family=2))
    row = Row("h", 0.0, {f"bot.b{n}.rss_bytes": float(n) for n in range(9)})
    assert values(row, exposition=exposition)[
        "outrider_bot_rss_bytes", "bot=overflow,host=overflow"
    ] == 8.0  # fmt: skip


def test_who_has_a_place_keeps_it_and_gives_it_back() -> None:
    exposition = Exposition(limits=Cardinality(per_family=1))
    first = Row("h", 0.0, {"bot.b.rss_bytes": 1.0})
    both = Row("h", 0.0, {"bot.a.rss_bytes": 2.0, "bot.b.rss_bytes": 1.0})
    last = Row("h", 0.0, {"bot.a.rss_bytes": 2.0})
    name = "outrider_bot_rss_bytes"
    assert values(first, exposition=exposition)[name, "bot=b,host=h"] == 1.0
    assert values(both, exposition=exposition)[name, "bot=b,host=h"] == 1.0
    assert (name, "bot=a,host=h") not in values(both, exposition=exposition)
    scrape(last, exposition=exposition)
    assert values(last, exposition=exposition)[name, "bot=a,host=h"] == 2.0


def test_the_whole_scrape_is_limited_and_still_speaks_of_itself() -> None:
    exposition = Exposition(limits=Cardinality(in_all=5))
    row = Row("h", 0.0, {f"bot.c.own{n}": 1.0 for n in range(50)})
    found = values(row, exposition=exposition)
    assert found["outrider_exposition_overflow_series", ""] == 45.0
    assert found["outrider_dashboard_redis_up", ""] == 1.0


def test_a_bot_called_overflow_does_not_break_the_scrape() -> None:
    exposition = Exposition(limits=Cardinality(per_family=2))
    row = {f"bot.{bot}.rss_bytes": 1.0 for bot in ("overflow", "a", "b", "c")}
    assert values(Row("overflow", 0.0, row), exposition=exposition)


def test_families_of_bots_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.web.families.MOST_OWN_FAMILIES", 3)
    row = Row("h", 0.0, {f"bot.c.own{n}": float(n) for n in range(5)})
    found = values(row)
    assert found["outrider_bot_own2", "bot=c,host=h"] == 2.0
    assert found["outrider_bot_other_value", "bot=c,host=h,series=own4"] == 4.0


# -- other sources


def test_metrics_of_another_source_keep_their_names() -> None:
    found = values(others=[Other("celery", lambda: CELERY)])
    labels = "name=mybots.price,queue_name=celery"
    assert found["celery_task_succeeded_total", f"hostname=w@alpha,{labels}"] == 3.0
    assert found["celery_worker_up", "hostname=w@alpha"] == 1.0
    assert found["celery_task_runtime_bucket", f"hostname=w@alpha,le=0.5,{labels}"] == 2.0
    assert found["celery_task_runtime_sum", f"hostname=w@alpha,{labels}"] == 1.25
    assert found["outrider_exposition_source_up", "source=celery"] == 1.0


def test_a_source_that_fails_costs_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Iterable[Ready]:
        yield CELERY[-1]
        raise RuntimeError("boom")

    found = values(Row("a", 0.0, {"host.load.1m": 1.0}), others=[Other("celery", fails)])
    assert found["outrider_exposition_source_up", "source=celery"] == 0.0
    assert found["outrider_host_load_1m", "host=a"] == 1.0
    assert "celery" in caplog.text


def test_nonsense_of_another_source_is_refused() -> None:
    nonsense: list[Ready] = [
        ("bad name", "gauge", {}, 1.0),
        ("ok", "gauge", {"bad label": "x"}, 1.0),
        ("outrider_bot_rss_bytes_total", "counter", {"bot": "x"}, 1.0),
        ("a_bucket", "histogram", {"le": "many"}, 1.0),
        ("double", "gauge", {}, 1.0),
        ("double", "gauge", {}, 2.0),
    ]
    found = values(others=[Other("x", lambda: nonsense)])
    assert found["outrider_exposition_refused_samples", ""] == 4.0
    assert found["double", ""] == 1.0


# -- formats


@pytest.mark.parametrize(
    ("accept", "content"),
    [
        ("", openmetrics.PLAIN),
        ("*/*", openmetrics.PLAIN),
        ("text/html,*/*;q=0.8", openmetrics.PLAIN),
        (OPEN, openmetrics.OPEN),
        ("application/openmetrics-text", openmetrics.OPEN),
        ("application/openmetrics-text;version=2.0.0", openmetrics.PLAIN),
        ("application/openmetrics-text;q=nonsense", openmetrics.PLAIN),
        (PROMETHEUS_3, openmetrics.OPEN),
    ],
)
def test_the_format_follows_the_accept_header(accept: str, content: str) -> None:
    assert content == Exposition().render([], [], reachable=True, accept=accept)[1]


def test_no_two_lines_of_the_catalogue_share_a_name_of_another_kind() -> None:
    families = Families()
    for series in (series for row in full_rows() for series in row.values):
        place = families.of("alpha", series, timed=True)
        found = catalog.find(series)
        assert found
        if not found.metric.is_own:
            assert "other" not in place.family.name, series


def test_promtool_finds_no_fault_in_a_full_scrape() -> None:
    text = scrape(*full_rows(), others=[Other("celery", lambda: CELERY)])
    assert read(text)
    promtool = shutil.which("promtool")
    if promtool is None:
        return  # both parsers above have read it
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


_PART = st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=6
)
_KNOWN = st.sampled_from(
    [
        "count", "sum_s", "max_s", "p95_s", "total", "created", "bucket", "info", "restarts",
        "rss_bytes", "a", "_", "cache", "handler", "hits_total", "x_seconds", "x", "x_total",
    ]
)  # fmt: skip
_SERIES = st.lists(_PART | _KNOWN, min_size=1, max_size=4).map(
    lambda parts: "bot.c." + ".".join(parts)
)


@settings(max_examples=200, deadline=None)
@example(names=["bot.c.0", "bot.c.count"], value=math.inf, limit=1)
@given(
    st.lists(_SERIES, max_size=8, unique=True), st.floats(allow_nan=False), st.integers(1, 2_000)
)
def test_any_names_give_a_scrape_that_both_parsers_read(
    names: list[str], value: float, limit: int
) -> None:
    row = Row("a", 0.0, dict.fromkeys(names, value))
    exposition = Exposition(limits=Cardinality(per_family=limit, in_all=limit))
    assert values(row, exposition=exposition)["outrider_dashboard_redis_up", ""] == 1.0
