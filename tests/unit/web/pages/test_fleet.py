"""The pages of what the fleet shares: budgets, database, caches, queues, changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from pydantic import SecretStr

from outrider.cache import keys as cache_keys
from outrider.cache.usage import Use
from outrider.clock import tick_at
from outrider.database import fleet
from outrider.database.journal import Change, Journal
from outrider.settings import Retention
from outrider.slo import maintenance, objective
from outrider.slo.keeping import Budgets
from outrider.store import keys
from outrider.store.sketches import SketchStore
from outrider.web.pages import changes
from outrider.web.pages.parts import Parts
from tests.unit.web.pages.conftest import INTERVAL_S, Stored

if TYPE_CHECKING:
    from tests.unit.web.conftest import Visitor


def test_budgets_show_what_is_left_and_who_spent_it(stored: Stored, visitor: Visitor) -> None:
    source = stored.source()
    sketches = SketchStore(stored.client, interval_s=INTERVAL_S, retention=Retention())
    budgets = Budgets(stored.client, source.tiers, sketches, objective.of_settings(stored.settings))
    last = tick_at(stored.now_s, INTERVAL_S)
    for tick in range(last - 20, last + 1):
        values = {"bot.canary.up": float(tick % 2), "bot.owl.up": 1.0}
        stored.store.append("alpha", tick, values)
        stored.store.append(keys.FLEET, tick, budgets.advance(tick))
    page = visitor.get("/api/slo").json()

    alive = next(one for one in page["objectives"] if one["name"] == "bots are alive")
    assert (alive["good"], alive["total"]) == (30, 40)
    assert 0 < alive["left_ratio"] < 1
    assert alive["spent_by"][0]["who"] == "canary"
    assert alive["spent_by"][0]["spent_ratio"] == 1.0
    # The first screen has the same budget, from the row alone.
    (first, *_) = visitor.get("/api/status").json()["budgets"]
    assert (first["name"], first["left_ratio"]) == ("bots are alive", alive["left_ratio"])


def test_planned_maintenance_is_listed_newest_first(stored: Stored, visitor: Visitor) -> None:
    for place, reason in enumerate(("disks", "network")):
        maintenance.plan(
            stored.client, start_s=stored.now_s + 60 * (place + 1), end_s=stored.now_s + 600,
            reason=reason, author="ann", now_s=stored.now_s,
        )  # fmt: skip
    page = visitor.get("/api/slo").json()
    assert [each["reason"] for each in page["maintenance"]] == ["network", "disks"]


def test_without_a_database_the_page_says_so(stored: Stored, visitor: Visitor) -> None:
    stored.row({"bot.canary.db.pool.waiting": 2.0})
    page = visitor.get("/api/database").json()
    assert (page["named"], page["server"], page["error"]) == (False, None, None)
    assert page["waiting"] == {"canary": {"waiting": 2.0}}


def test_the_database_page_carries_the_newest_report(stored: Stored, visitor: Visitor) -> None:
    index = {"ddl": "CREATE INDEX ON messages (user_id)", "gain": 900.0}
    report = {
        "at_s": 5.0, "slow_statements": [{"text": "SELECT 1", "calls": 3}], "warnings": [],
        "advice": None, "queries": {"missing_indexes": [index]},
    }  # fmt: skip
    stored.client.set(keys.tuning("database"), json.dumps(report))
    page = visitor.get("/api/database").json()
    assert page["queries"]["missing_indexes"] == [index]
    assert (page["reported_at_s"], page["slow_statements"][0]["calls"]) == (5.0, 3)


@pytest.fixture
def cached(stored: Stored) -> Stored:
    """A cache that answers 40 of 50 calls, and one of its keys."""
    stored.client.zadd(cache_keys.NAMESPACES, {"prices": stored.now_s})
    use = Use(loader="m:f", args=["BTC"], ttl_s=60.0, last_use_s=stored.now_s, uses=7, bot="canary")
    stored.client.hset(cache_keys.usage("prices"), '["BTC"]', msgspec.msgpack.encode(use))
    for ticks_ago, hits in ((2, 0.0), (1, 20.0), (0, 40.0)):
        stored.row(
            {
                "bot.canary.cache.prices.hits_total": hits,
                "bot.canary.cache.prices.hits_memory_total": hits / 2,
                "bot.canary.cache.prices.misses_total": hits / 4,
            },
            ticks_ago=ticks_ago,
        )
    return stored


def test_caches_show_hits_by_tier_and_the_keys_used_most(cached: Stored, visitor: Visitor) -> None:
    del cached
    page = visitor.get("/api/cache").json()
    (row,) = page["caches"]
    assert (row["recent"]["calls"], row["recent"]["hits"], row["recent"]["hits_memory"]) == (
        50.0, 40.0, 20.0,
    )  # fmt: skip
    assert page["namespace"] == "prices"
    assert [(key["key"], key["uses"]) for key in page["top"]] == [('["BTC"]', 7)]


def test_a_cache_that_nobody_used_is_refused(cached: Stored, visitor: Visitor) -> None:
    del cached
    answer = visitor.get("/api/cache?namespace=owls")
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("in use: prices.")


def test_queues_workers_and_tasks_come_from_the_fleets_row(
    stored: Stored, visitor: Visitor
) -> None:
    for ticks_ago, done in ((6, 0.0), (0, 30.0)):
        stored.row(
            {
                "celery.queue.outrider.host.alpha.length": 4.0,
                "celery.queue.outrider.host.alpha.consumers": 1.0,
                "celery.shop.queue.mail.length": 9.0,
                "celery.worker.w@alpha.up": 0.0,
                "celery.task.mybots.price.succeeded_total": done,
                "celery.task.mybots.price.failed_total": done / 10,
            },
            keys.FLEET,
            ticks_ago=ticks_ago,
        )
    stored.client.lpush(keys.DEAD, json.dumps({"task": "outrider.collect.host", "at_s": 1.0}))
    page = visitor.get("/api/queues").json()
    assert [(q["app"], q["name"], q["length"]) for q in page["queues"]] == [
        ("shop", "mail", 9.0), ("", "outrider.host.alpha", 4.0),
    ]  # fmt: skip
    assert page["queues"][1]["spark"][-1] == 4.0
    assert [(w["name"], w["up"]) for w in page["workers"]] == [("w@alpha", 0.0)]
    (task,) = page["tasks"]
    assert (task["name"], task["succeeded"], task["failed"]) == ("mybots.price", 30.0, 3.0)
    assert (page["dead_count"], page["dead"][0]["task"]) == (1, "outrider.collect.host")


def test_changes_put_orders_settings_and_maintenance_on_one_line_of_time(
    stored: Stored, visitor: Visitor
) -> None:
    url = "postgresql://x@db.example:5432/bots"
    database = stored.settings.database.model_copy(update={"url": SecretStr(url)})
    source = stored.source()
    source.settings = stored.settings.model_copy(update={"database": database})
    server = fleet.server_name(source.settings)
    assert server is not None
    change = Change("work_mem", "8MB", "ann", stored.now_s - 5, value_before="4MB")
    Journal(stored.client, server).begin(change)
    stored.did(who="bob", what="reload", bot="canary", host="alpha", result="ok")
    maintenance.plan(
        stored.client, start_s=stored.now_s + 60, end_s=stored.now_s + 600, reason="disks",
        author="ann", now_s=stored.now_s,
    )  # fmt: skip
    line = changes.timeline(source, Parts())
    assert [(c["kind"], c["on"], c["before"], c["after"]) for c in line] == [
        ("maintenance", "*", "", ""), ("deploy", "canary", "", ""),
        ("tuning", "work_mem", "4MB", "8MB"),
    ]  # fmt: skip
    page = visitor.get("/api/changes").json()
    assert [(c["kind"], c["who"]) for c in page["changes"]] == [
        ("maintenance", "ann"), ("deploy", "bob"),
    ]  # fmt: skip


def test_what_tuning_advises_is_listed_with_its_age(stored: Stored, visitor: Visitor) -> None:
    stored.client.set(
        keys.tuning("cache"), json.dumps({"at_s": 9.0, "recommendations": [{"text": "Longer."}]})
    )
    assert visitor.get("/api/changes").json()["reports"] == [
        {"what": "cache", "at_s": 9.0, "advice": [{"text": "Longer."}]}
    ]
