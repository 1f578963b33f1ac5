"""The catalogue knows every series that a collector yields, and says something of each."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import TextClause

import outrider
from outrider import settings
from outrider.database import tally
from outrider.metrics import bots as bots_metrics
from outrider.metrics import catalog, database, frame, host, postgresql, process
from outrider.metrics import celery as celery_metrics
from outrider.metrics import channel as channel_metrics
from outrider.metrics import redis as redis_metrics
from outrider.metrics.series import METRICS
from outrider.samples import is_counter
from outrider.sdk.channel import Channel
from outrider.store import connection, queues, upkeep
from outrider.supervisor.channel import router
from outrider.supervisor.channel.hub import Hub
from outrider.tasks import collect, context

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from outrider.metrics.metric import Metric


def unknown(series: Iterable[str]) -> list[str]:
    """Return what is not in the table by a line of its own."""
    found = {name: catalog.find(name) for name in series}
    assert found, "nothing was collected"
    return [name for name, known in found.items() if known is None or known.metric.is_own]


def test_every_series_of_the_store_is_known(valkey_url: str) -> None:
    ctx = context.build(settings.Settings(), valkey_url)
    found = upkeep.series(ctx.tiers, ctx.sketches)
    ctx.redis.close()

    assert unknown(found) == []
    assert all(is_counter(name) for name in found)


def test_every_series_of_a_host_is_known() -> None:
    assert unknown(host.HostCollector().collect(0.0)) == []


def test_every_series_of_a_process_is_known() -> None:
    collector = process.ProcessCollector()
    collector.collect({"canary": os.getpid()}, 1.0)
    values = collector.collect({"canary": os.getpid(), "gone": None}, 2.0)
    collector.close()
    assert {"bot.canary.cpu_ratio", "bot.canary.pss_bytes", "bot.gone.up"} <= set(values)
    assert unknown(values) == []


def test_every_series_of_a_supervisor_is_known() -> None:
    entry: dict[str, Any] = {"pid": None, "state": "ready", "restarts": 1, "crashes": 0}
    snapshot = {
        "processes": [
            {"name": "canary", "kind": "bot", **entry},
            {"name": "beat", "kind": "stack", **entry},
        ],
        "frames": {},
    }
    values = bots_metrics.BotsCollector().collect(snapshot, 1.0)
    assert "stack.beat.crashes_total" in values
    assert unknown([*values, "supervisor.up"]) == []


def test_every_series_of_a_frame_is_known() -> None:
    said = frame.Frame("canary", 1, 1.0, ready=True, loop_lag_s=0.1, dropped=3)
    assert unknown(frame.series(said, now_s=2.0)) == []


def test_every_series_of_the_channel_is_known(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "c.sock", who=lambda _: None, known=lambda *_: True, tell=print)
    hub._router.work["market"] = router.Work()
    values = channel_metrics.ChannelCollector().collect(hub.snapshot())
    assert {"channel.delay_s", "channel.work.market.waiting"} <= set(values)
    assert unknown(values) == []
    figures = Channel(None).figures()
    assert unknown(f"bot.canary.{name}" for name in figures) == []


def test_every_series_of_a_pool_is_known() -> None:
    engine = outrider.create_engine("sqlite://", poolclass=sa.QueuePool)
    with engine.connect():
        values = tally.readings()
    engine.dispose()
    assert "db.pool.used_ratio" in values
    assert unknown(f"bot.canary.{name}" for name in values) == []


def test_every_series_of_a_cache_is_known() -> None:
    @outrider.cached(ttl_s=60, namespace="of.the.catalogue")
    def price() -> int:
        return 1

    from outrider.sdk import cached

    cache = next(each for each in cached._ALL if each.namespace == "of.the.catalogue")
    price.peek()
    values = cache._gauges()
    assert "cache.of.the.catalogue.load_seconds_total" in values
    assert unknown(f"bot.canary.{name}" for name in values) == []


def test_every_series_of_redis_and_the_queues_is_known(valkey_url: str) -> None:
    with connection.connect(valkey_url) as client:
        client.config_set("maxmemory", 100_000_000)
        values = redis_metrics.collect(client)
        client.config_set("maxmemory", 0)
        values |= celery_metrics.collect(
            client, [*queues.SHARED, queues.of_host("alpha")], now_s=0.0, interval_s=10.0
        )
    assert "redis.memory.used_ratio" in values
    assert unknown(values) == []


def test_every_series_of_the_fleet_is_known(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("OUTRIDER_DATABASE__URL", f"sqlite:///{tmp_path}/fleet.db")
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.chdir(tmp_path)
    for kept in (context.current, collect._fleet_row, collect._budgets):
        kept.cache_clear()
    ctx = context.build(settings.load(), valkey_url)
    ctx.store.append("alpha", ctx.tick() - 1, {"bot.canary.up": 1.0})
    values = collect._fleet_values(ctx, {"alpha": 1.0, "beta": 60.0}, ctx.tick())
    ctx.redis.close()
    context.current().redis.close()
    for kept in (context.current, collect._fleet_row, collect._budgets):
        kept.cache_clear()
    assert {"fleet.host.beta.silent", "slo.bots-are-alive.burn_ratio.1h"} <= values.keys()
    assert unknown(values) == []


def test_every_series_of_a_database_is_known(tmp_path: Any) -> None:
    values = database.collect(f"sqlite:///{tmp_path}/one.db")
    assert "db.server.up" in values
    # PostgreSQL's are the names of its statements; tests/integration asks a real server.
    statements = [each.text for each in vars(postgresql).values() if isinstance(each, TextClause)]
    asked = re.findall(r'AS "?([a-z_]+(?:\.[a-z_]+)*)"?(?=[,\n]|$)', "\n".join(statements))
    assert len(asked) >= 30
    assert unknown([*values, *(database.PREFIX + name for name in asked)]) == []


def test_what_a_bot_calls_its_own_is_caught_and_said_to_be_its_own() -> None:
    for name, kind in (("jobs_total", "counter"), ("deep.queue", "gauge")):
        found = catalog.find(f"bot.canary.{name}")
        assert found
        assert (found.metric.is_own, found.metric.kind) == (True, kind)


@pytest.mark.parametrize(
    ("series", "labels"),
    [
        ("bot.c.cache.a.b.c.hits_total", {"bot": "c", "namespace": "a.b.c"}),
        ("bot.c.api.sendMessage.wait.count", {"bot": "c", "method": "sendMessage"}),
        ("bot.c.handler.on.message.p95_s", {"bot": "c", "handler": "on.message"}),
        ("celery.queue.outrider.host.alpha.length", {"queue": "outrider.host.alpha"}),
        ("fleet.host.alpha.silent", {"host": "alpha"}),
    ],
)
def test_names_with_dots_are_found_where_they_may_be(series: str, labels: dict[str, str]) -> None:
    found = catalog.find(series)
    assert found
    assert labels == dict(found.labels)
    assert not found.metric.is_own


@pytest.mark.parametrize("series", ["", "bot.", "bot.c", "bot.c.", "host", "other.thing", "bot..x"])
def test_what_is_no_series_of_ours_is_not_found(series: str) -> None:
    assert catalog.find(series) is None


def examples() -> Iterator[tuple[Metric, str]]:
    for metric in METRICS:
        name = re.sub(r"\{\w+\}", "x", metric.pattern)
        parts = catalog.TIMING_PARTS if metric.kind == "timing" else ("",)
        yield from ((metric, f"{name}.{part}".rstrip(".")) for part in parts)


@pytest.mark.parametrize(("metric", "series"), [*examples()], ids=str)
def test_every_line_is_reached_and_true_to_its_name(metric: Metric, series: str) -> None:
    found = catalog.find(series)
    assert found
    if not metric.is_own:
        assert metric is found.metric
    counts = metric.kind == "counter" or found.part in ("count", "sum_s")
    assert is_counter(series) == counts
    if metric.kind != "timing" and not metric.is_own:
        ends = metric.pattern.removesuffix("_total").rpartition("_")[2].rpartition(".")[2]
        assert metric.unit == (ends if ends in ("s", "bytes", "ratio") else "")
    assert metric.help.endswith((".", "`."))


def test_no_line_stands_twice() -> None:
    assert len(METRICS) == len({(metric.pattern, metric.kind) for metric in METRICS})


def test_looking_a_name_up_again_costs_nothing_but_a_look() -> None:
    assert catalog.find("host.load.1m") is catalog.find("host.load.1m")
