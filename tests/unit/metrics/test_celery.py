from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import Celery
from kombu import Queue

from outrider.metrics import celery as celery_metrics
from outrider.metrics import celery_counts, celery_queues, celery_workers
from outrider.metrics.celery_counts import OWN, Ledger, Tally
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    with Celery(broker=valkey_url, set_as_current=False) as app:
        app.conf.task_queues = [Queue("a"), Queue("b")]
        yield app


def collect(
    client: redis.Redis, queues: list[str], *, apps: tuple[str, ...] = (), now_s: float = 1000.0
) -> dict[str, float]:
    return celery_metrics.collect(client, queues, apps=apps, now_s=now_s, interval_s=10.0)


def seen(values: dict[str, float], end: str) -> dict[str, float]:
    return {name: value for name, value in values.items() if name.endswith(end)}


def test_queues_that_do_not_exist_are_empty(client: redis.Redis) -> None:
    assert collect(client, ["a"]) == {
        "celery.queue.a.length": 0, "celery.queue.a.unacked": 0, "celery.queue.a.oldest_age_s": 0,
        "celery.unacked": 0,
    }  # fmt: skip
    assert collect(client, []) == {"celery.unacked": 0}


def test_messages_of_every_priority_count(client: redis.Redis, app: Celery) -> None:
    for priority in range(10):
        app.send_task("t", queue="a", priority=priority)
    app.send_task("t", queue="b")

    assert seen(collect(client, ["b", "a"]), ".length") == {
        "celery.queue.b.length": 1, "celery.queue.a.length": 10,
    }  # fmt: skip


def test_messages_that_a_worker_holds_count_as_unacknowledged(
    client: redis.Redis, app: Celery
) -> None:
    for _ in range(3):
        app.send_task("t", queue="a")
    with app.connection() as broker:
        assert broker.SimpleQueue("a").get(timeout=5)
        values = collect(client, ["a", "b"])

    assert values["celery.queue.a.length"] == 2
    assert seen(values, "unacked") == {
        "celery.unacked": 1, "celery.queue.a.unacked": 1, "celery.queue.b.unacked": 0,
    }  # fmt: skip


def test_the_first_in_line_ages_until_it_is_taken(client: redis.Redis, app: Celery) -> None:
    name = "celery.queue.a.oldest_age_s"
    app.send_task("t", queue="a")
    assert collect(client, ["a"], now_s=1000)[name] == 0
    app.send_task("t", queue="a")
    assert collect(client, ["a"], now_s=1010)[name] == 10

    client.rpop("a")
    assert collect(client, ["a"], now_s=1030)[name] == 20
    client.rpop("a")
    assert collect(client, ["a"], now_s=1040)[name] == 0
    assert not client.exists(keys.celery(OWN, "heads"))


def test_what_our_tasks_did_is_told_with_totals_and_single_tasks(client: redis.Redis) -> None:
    tally = Tally()
    for _ in range(3):
        tally.add("received", "outrider.a", "w", "q")
        tally.add("succeeded", "outrider.a", "w", "q")
        tally.runtime("outrider.a", "w", "q", 0.5)
    tally.add("failed", "outrider.b", "w", "q", "ValueError")
    Ledger(client, OWN).flush(tally, 995.0, 99)

    values = collect(client, [], now_s=1000)
    assert {
        "celery.tasks.received_total": 3, "celery.tasks.succeeded_total": 3,
        "celery.tasks.failed_total": 1, "celery.tasks.retried_total": 0,
        "celery.tasks.runtime.count": 3, "celery.tasks.runtime.sum_s": 1.5,
        "celery.task.outrider.a.succeeded_total": 3, "celery.task.outrider.b.failed_total": 1,
        "celery.task.outrider.a.runtime.sum_s": 1.5, "celery.task.outrider.a.runtime.count": 3,
        "celery.failures.ValueError_total": 1,
    }.items() <= values.items()  # fmt: skip
    assert values["celery.tasks.runtime.p95_s"] == pytest.approx(0.5, rel=0.01)
    # Nothing ended in the next tick: counters stay, there is no runtime to tell.
    later = collect(client, [], now_s=1010)
    assert later["celery.tasks.succeeded_total"] == 3
    assert "celery.tasks.runtime.p95_s" not in later


def test_tasks_beyond_the_most_share_a_series_and_keep_what_they_have(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_metrics, "MOST_TASKS", 2)
    tally, ledger = Tally(), Ledger(client, OWN)
    for task, times in (("a", 5), ("b", 4), ("c", 3)):
        tally.add("succeeded", task, "w", "q", by=times)
    ledger.flush(tally, 1.0, 1)
    first = seen(collect(client, []), "succeeded_total")
    tally.add("succeeded", "c", "w", "q", by=100)  # the busiest by now
    ledger.flush(tally, 2.0, 1)
    second = seen(collect(client, []), "succeeded_total")

    shown = {"celery.task.a.succeeded_total": 5, "celery.task.b.succeeded_total": 4}
    assert first == shown | {
        "celery.task.overflow.succeeded_total": 3, "celery.tasks.succeeded_total": 12,
    }  # fmt: skip
    assert second == shown | {
        "celery.task.overflow.succeeded_total": 103, "celery.tasks.succeeded_total": 112,
    }  # fmt: skip


def test_an_application_that_nobody_watches_says_so(client: redis.Redis) -> None:
    assert seen(collect(client, [], apps=("shop",)), "watched") == {"celery.shop.watched": 0}


def test_workers_are_not_silent_only_because_nobody_listens(client: redis.Redis) -> None:
    worker = celery_workers.Worker(pid=1, at_s=995.0, active=2)
    said = '{"at_s": 997, "heard_s": 996}'
    Ledger(client, "shop").flush(
        Tally(), 997.0, 1, workers={"till@market": celery_workers.encode(worker)}, receiver=said
    )

    values = collect(client, [], apps=("shop",), now_s=1300.0)
    assert values["celery.shop.receiver_up"] == 0
    assert values["celery.shop.workers.up"] == 1
    assert values["celery.shop.worker.till@market.heartbeat_age_s"] == 1


def test_a_look_that_is_old_tells_nothing_of_now(client: redis.Redis) -> None:
    look = celery_queues.Look({"q": celery_queues.Queue(length=4)}, 0)
    client.set(keys.celery("shop", "look"), celery_metrics.sight(look, 1000.0, 10.0))

    assert collect(client, [], apps=("shop",), now_s=1010)["celery.shop.queue.q.length"] == 4
    assert collect(client, [], apps=("shop",), now_s=1100) == {
        "celery.unacked": 0, "celery.shop.watched": 0,
    }  # fmt: skip


def test_a_worker_of_ours_that_vanished_is_forgotten_and_its_counts_stay(
    client: redis.Redis,
) -> None:
    tally = Tally()
    tally.add("succeeded", "t", "outrider@old", "q")
    old = celery_workers.encode(celery_workers.Worker(at_s=1000.0))
    Ledger(client, OWN).flush(tally, 1000.0, 1, workers={"outrider@old": old})

    assert collect(client, [], now_s=1100)["celery.workers.silent"] == 1
    collect(client, [], now_s=5000)
    values = collect(client, [], now_s=5000)
    assert values["celery.workers.silent"] == 0
    assert values["celery.tasks.succeeded_total"] == 1
    assert celery_counts.read(client, OWN)
