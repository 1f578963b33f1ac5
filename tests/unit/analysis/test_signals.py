from __future__ import annotations

import numpy as np
import pytest

from outrider.analysis import resources, signals
from outrider.metrics import catalog
from outrider.samples import Window


def made(columns: dict[str, list[float]], times_s: list[float] | None = None) -> signals.Signals:
    when = np.array(times_s or range(len(next(iter(columns.values())))), float)
    return signals.of_windows(Window(tuple(columns), when, np.array(list(columns.values())).T))


def column(found: signals.Signals, series: str) -> list[float]:
    (place,) = [at for at, each in enumerate(found.columns) if each.series == series]
    values: list[float] = found.values[:, place].tolist()
    return values


def test_a_counter_is_its_increase_a_second_and_unknown_where_it_began_anew() -> None:
    found = made({"redis.evicted_total": [5, 25, 3, 23]}, [0, 10, 20, 30])

    assert column(found, "redis.evicted_total") == pytest.approx(
        [np.nan, 2, np.nan, 2], nan_ok=True
    )


def test_a_timing_is_the_mean_of_the_calls_that_ended_in_the_tick() -> None:
    found = made({"bot.a.handle.sum_s": [0, 2, 2, 5], "bot.a.handle.count": [0, 4, 4, 5]})

    assert column(found, "bot.a.handle.sum_s") == pytest.approx(
        [np.nan, 0.5, np.nan, 3], nan_ok=True
    )


def test_a_cache_is_judged_by_the_misses_of_the_tick_and_not_since_its_start() -> None:
    hits, misses = "bot.a.cache.c.hits_total", "bot.a.cache.c.misses_total"
    found = made({hits: [100, 103, 103], misses: [100, 101, 105]})

    assert column(found, misses) == pytest.approx([np.nan, 0.25, 1.0], nan_ok=True)


def test_what_the_bots_do_not_use_of_the_cpu_is_that_of_others() -> None:
    found = made(
        {"host.cpu.used_ratio": [0.75], "host.cpu.cores": [4],
         "bot.a.cpu_ratio": [0.5], "bot.b.cpu_ratio": [0.25]}
    )  # fmt: skip

    assert column(found, signals.OUTSIDE) == [2.25]


def test_a_stopped_process_is_told_from_one_that_runs() -> None:
    assert column(made({"bot.a.state": [1, 2, 4]}), "bot.a.state") == [0, 0, 1]


def test_ticks_without_a_row_are_seen_and_share_what_was_counted_meanwhile() -> None:
    found = made(
        {"redis.evicted_total": [0, 1, 2, 10, 11], "host.memory.used_ratio": [0.1] * 5},
        [0, 1, 2, 6, 7],
    )

    assert found.times_s.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert column(found, signals.MISSING_ROWS) == [0, 0, 0, 1, 1, 1, 0, 0]
    assert column(found, "redis.evicted_total")[1:] == [1, 1, 2, 2, 2, 2, 1]
    assert np.isnan(column(found, "host.memory.used_ratio")[3:6]).all()


def test_a_long_time_away_ends_the_window() -> None:
    found = made({"host.memory.used_ratio": [0.1] * 6}, [0, 1, 2, 900, 901, 902])

    assert found.times_s.tolist() == [900, 901, 902]


@pytest.mark.parametrize(
    ("series", "part"),
    [
        ("bot.a.handler.start.sum_s", "handlers:a"),
        ("bot.a.handler.start.errors_total", "handlers:a"),
        ("bot.a.api.sendMessage.sum_s", "api:a"),
        ("bot.a.api.sendMessage.limited_total", "api:a"),
        ("bot.a.cache.my.things.misses_total", "cache:a.my.things"),
        ("celery.queue.outrider.cache.length", "queue:outrider.cache"),
        ("celery.shop.queue.celery.length", "queue:shop/celery"),
        ("host.mount./var.used_ratio", "disk space"),
        ("db.server.locks.waiting", "database"),
        ("bot.a.http.example_org.requests.GET.sum_s", "api:a"),
        ("bot.a.http.example_org.errors_total", "api:a"),
        ("bot.a.redis.get.sum_s", "redis"),
        ("bot.a.db.pool.checkout.sum_s", "pool:a"),
        ("bot.a.handle_update.sum_s", "handlers:a"),
        ("bot.a.errors.KeyError_total", "handlers:a"),
        ("redis.server.shop.latency_s", "redis:shop"),
    ],
)
def test_a_series_speaks_of_its_part(series: str, part: str) -> None:
    found = resources.of_series(series)

    assert found is not None
    assert part == resources.fill(found[0].part, found[1])


@pytest.mark.parametrize(
    "series",
    [
        "bot.a.api.getUpdates.sum_s",
        "bot.a.db.pool.size",
        "bot.a.rsi",
        "bot.a.orders_total",
        "x",
        "bot.a.redis.blpop.sum_s",
        "bot.a.db.statement.select.sum_s",
        "bot.a.frames_dropped_total",
        "bot.a.api.errors.TimeoutError_total",
        "bot.a.updates.age.sum_s",
    ],
)
def test_what_tells_nothing_of_a_fault_is_left_out(series: str) -> None:
    assert resources.of_series(series) is None


def test_every_line_can_be_reached_and_has_limits_that_make_sense() -> None:
    for line in resources.SIGNALS:
        series = resources.fill(line.pattern, _Names())
        found = resources.of_series(series)
        assert (found is None) == (not line.part), series
        assert found is None or (found[0] is line and line.least > 0 and 0 < line.weight <= 1)
        assert bool(line.over) == (line.form in ("mean", "share"))


class _Names(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "errors" if name == "trouble" else "zone"


def test_the_catalogue_calls_counters_what_the_table_takes_for_counters() -> None:
    for line in resources.SIGNALS:
        known = catalog.find(resources.fill(line.pattern, _Names()))
        if known is not None and line.part and known.metric.kind != "timing":
            assert (known.metric.kind == "counter") == (line.form in ("rate", "mean", "share")), (
                line
            )


def test_a_value_beyond_all_numbers_is_unknown_and_no_warning() -> None:
    found = made(
        {"host.cpu.used_ratio": [np.inf, 0.5], "host.cpu.cores": [0, 4],
         "bot.a.cpu_ratio": [np.inf, 0.5], "bot.b.cpu_ratio": [-np.inf, 0.5]}
    )  # fmt: skip

    assert column(found, signals.OUTSIDE) == pytest.approx([np.nan, 1.0], nan_ok=True)
