"""Whatever a bot calls its series, Prometheus can read the scrape."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from outrider.samples import Row
from outrider.store import keys
from outrider.web import exposition

OPEN = "application/openmetrics-text;version=1.0.0"


def scrape(*rows: Row, accept: str = "") -> str:
    return exposition.render(rows, [], reachable=True, accept=accept)[0].decode()


def values(*rows: Row) -> dict[tuple[str, str], float]:
    """Return ``(sample, labels) -> value``, as both parsers understand it."""
    found: list[dict[tuple[str, str], float]] = []
    for parse, accept in ((parse_plain, ""), (parse_open, OPEN)):
        families = list(parse(scrape(*rows, accept=accept)))
        found.append(
            {
                (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): (
                    sample.value
                )
                for family in families
                for sample in family.samples
            }
        )
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("series", "metric", "labels"),
    [
        ("host.cpu.used_ratio", "outrider_host_cpu_used_ratio", "host=a"),
        ("host.load.1m", "outrider_host_load_1m", "host=a"),
        ("host.disk.read_bytes_total", "outrider_host_disk_read_bytes_total", "host=a"),
        ("bot.canary.rss_bytes", "outrider_bot_rss_bytes", "bot=canary,host=a"),
        ("bot.canary.loop_lag_s", "outrider_bot_loop_lag_seconds", "bot=canary,host=a"),
        ("bot.canary.cpu_seconds_total", "outrider_bot_cpu_seconds_total", "bot=canary,host=a"),
        ("bot.canary.updates_total", "outrider_bot_updates_total", "bot=canary,host=a"),
        ("bot.canary.db.pool.used", "outrider_bot_db_pool_used", "bot=canary,host=a"),
    ],
)
def test_names_are_in_base_units_with_bounded_labels(series: str, metric: str, labels: str) -> None:
    assert values(Row("a", 0.0, {series: 3.0}))[metric, labels] == 3.0


def test_what_belongs_to_the_fleet_has_no_host() -> None:
    row = Row(keys.FLEET, 0.0, {"redis.ops_total": 9.0, "celery.queue.outrider.x.length": 2.0})
    found = values(row)
    assert found["outrider_redis_ops_total", ""] == 9.0
    assert found["outrider_celery_queue_length", "queue=outrider.x"] == 2.0


def test_a_timing_is_a_summary_in_seconds() -> None:
    timing = {"bot.c.work.count": 4.0, "bot.c.work.sum_s": 2.5, "bot.c.work.max_s": 1.0}
    found = values(Row("a", 0.0, timing))
    assert found["outrider_bot_work_seconds_count", "bot=c,host=a"] == 4.0
    assert found["outrider_bot_work_seconds_sum", "bot=c,host=a"] == 2.5
    assert found["outrider_bot_work_max_seconds", "bot=c,host=a"] == 1.0


def test_label_values_are_escaped() -> None:
    host = 'a"} 1\\ <script>'
    text = scrape(Row(host, 0.0, {"host.load.1m": 1.0}))
    assert r'host="a\"} 1\\ <script>"' in text
    assert (
        values(Row(host, 0.0, {"host.load.1m": 1.0}))["outrider_host_load_1m", f"host={host}"]
        == 1.0
    )


def test_a_line_break_in_a_name_adds_no_line() -> None:
    text = scrape(Row("a\n# HELP evil", 0.0, {"bot.x\n# TYPE evil.rss_bytes": 1.0}))
    assert not [
        line for line in text.splitlines() if line.startswith(("# HELP evil", "# TYPE evil"))
    ]


def test_names_that_fall_together_are_counted_and_left_out() -> None:
    row = Row("a", 0.0, {"bot.c.a.b": 1.0, "bot.c.a_b": 2.0, "bot.c.rss_bytes": 5.0})
    found = values(row)
    assert found["outrider_dashboard_dropped_samples", ""] == 1.0
    assert found["outrider_bot_rss_bytes", "bot=c,host=a"] == 5.0


def test_a_series_without_a_value_is_left_out() -> None:
    row = Row("a", 0.0, {"host.load.1m": float("nan")})
    assert [key for key in values(row) if key[0].startswith("outrider_host")] == []


def test_cardinality_is_capped_and_the_built_in_series_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exposition, "MOST_SAMPLES", 10)
    row = Row("a", 0.0, {f"bot.c.own{n}": 1.0 for n in range(50)} | {"bot.c.rss_bytes": 5.0})
    found = values(row)
    assert len(found) == 11
    assert found["outrider_bot_rss_bytes", "bot=c,host=a"] == 5.0
    assert found["outrider_dashboard_dropped_samples", ""] == 42.0


_PART = st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=6
)
_KNOWN = st.sampled_from(
    [
        "count",
        "sum_s",
        "max_s",
        "total",
        "created",
        "bucket",
        "info",
        "restarts",
        "rss_bytes",
        "a",
        "_",
    ]
)
_SERIES = st.lists(_PART | _KNOWN, min_size=1, max_size=4).map(
    lambda parts: "bot.c." + ".".join(parts)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_SERIES, max_size=8, unique=True), st.floats(allow_nan=False))
def test_any_names_give_a_scrape_that_both_parsers_read(names: list[str], value: float) -> None:
    row = Row("a", 0.0, dict.fromkeys(names, value))
    assert values(row)["outrider_dashboard_redis_up", ""] == 1.0
