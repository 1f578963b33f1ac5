from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from outrider.cache import keys as cache_keys
from outrider.cache import usage
from outrider.database.server import DatabaseUnavailable
from outrider.errors import BadArgument
from outrider.settings import Settings
from outrider.store import keys
from outrider.tasks import context, tune

if TYPE_CHECKING:
    from pathlib import Path

    from outrider.tasks.context import Context

NOW_S = 1_800_000_000.0
MIB = 1 << 20


class StoppedClock:
    def now(self) -> float:
        return NOW_S

    def monotonic(self) -> float:
        return NOW_S


@pytest.fixture
def ctx(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    settings = Settings.model_validate(
        {
            "environment": "production",
            "database": {"url": f"sqlite:///{tmp_path}/bot.db", "max_connections": 40},
            "bots": {
                "canary": {"entry": "m:f", "instances": 2, "limits": {"memory": "300MiB"}},
                "owl": {"entry": "m:f", "limits": {"memory": "100MiB", "cpu": 0.5}},
            },
        }
    )
    made = context.build(settings, valkey_url, StoppedClock())
    monkeypatch.setattr(context, "current", lambda: made)
    return made


def kept(ctx: Context, what: str) -> Any:
    return json.loads(cast("bytes", ctx.redis.get(keys.tuning(what))))


def measure(ctx: Context, *, samples: int = 120) -> None:
    """Leave some minutes of what two hosts' bots used."""
    newest = ctx.tick()
    for tick in range(newest - samples, newest):
        ctx.store.append("one", tick, {"bot.canary-1.rss_bytes": 140.0 * MIB})
        ctx.store.append(
            "two",
            tick,
            {"bot.canary-2.rss_bytes": 90.0 * MIB, "bot.owl.rss_bytes": 75.0 * MIB,
             "bot.owl.cpu_ratio": 0.5},
        )  # fmt: skip


def test_database_report_is_kept_for_a_week_and_returned(ctx: Context) -> None:
    returned = tune.tune_database()

    assert kept(ctx, "database") == returned
    assert (returned["what"], returned["at_s"]) == ("database", NOW_S)
    assert returned["preset"]["name"] == "production"
    assert returned["plan"]["total"] <= 32
    ttl_s = ctx.redis.ttl(keys.tuning("database"))
    assert tune.REPORT_TTL_S - 60 < ttl_s <= tune.REPORT_TTL_S


def test_process_report_says_what_is_needed_and_what_is_given(ctx: Context) -> None:
    measure(ctx)

    returned = tune.tune_process()

    assert kept(ctx, "process") == returned
    assert [suggestion["text"] for suggestion in returned["suggestions"]] == [
        "canary needs 140.0 MiB at p99 and is given 300.0 MiB: 180.0 MiB is enough.",
        "owl needs 0.50 cores at p99 and is given 0.50 cores: give it 0.65 cores.",
    ]


def test_process_report_counts_the_recent_past_only(ctx: Context) -> None:
    measure(ctx)

    assert tune.tune_process(recent_s=60.0)["suggestions"] == []


def test_cache_report_has_a_row_for_each_namespace(ctx: Context) -> None:
    ctx.redis.zadd(cache_keys.NAMESPACES, {"profiles": NOW_S - 60, "forgotten": NOW_S - 1e6})
    usage.count(ctx.redis, "profiles", NOW_S, loads=7)

    returned = tune.tune_cache()

    assert kept(ctx, "cache") == returned
    assert [(row["namespace"], row["loads"]) for row in returned["caches"]] == [("profiles", 7)]


def test_all_makes_the_three_reports_and_may_run_twice(ctx: Context) -> None:
    measure(ctx)

    first, second = tune.tune_all(), tune.tune_all()

    assert first == second
    assert set(first) == {"database", "cache", "process"}
    assert {what: kept(ctx, what) for what in first} == first


# By name: a task is bound to an application, which may ask for a Redis, when it is looked at.
@pytest.mark.parametrize("name", ["tune_database", "tune_pools", "tune_cache", "tune_process"])
def test_tuning_has_an_end(name: str) -> None:
    assert getattr(tune, name).time_limit


def test_a_database_without_a_server_has_no_advice(ctx: Context) -> None:
    assert tune.tune_database()["advice"] is None


def test_a_server_that_is_away_is_a_part_of_the_report(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(ctx, monkeypatch)

    assert "does not answer" in tune.tune_database()["advice"]["error"]


def test_a_setting_is_not_applied_to_a_server_that_is_away(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(ctx, monkeypatch)

    with pytest.raises(DatabaseUnavailable):
        tune.tune_database(apply="work_mem", by="ann")
    with pytest.raises(BadArgument, match="accept"):
        tune.tune_database(apply="synchronous_commit", role="log")


def away(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate(
        {"database": {"url": "postgresql://x@127.0.0.1:1/y", "server_memory": "1GiB"}}
    )
    made = context.build(settings, ctx.redis_url, StoppedClock())
    monkeypatch.setattr(context, "current", lambda: made)
