"""Names and labels are those of celery-exporter, as listed from its source beside this file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import Histogram

from outrider.metrics import celery, celery_counts, celery_exporter, celery_queues, celery_workers
from outrider.metrics.celery_counts import GONE, OWN, Ledger, Tally
from outrider.metrics.celery_workers import Worker
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.metrics.celery_exporter import Sample

LISTED = json.loads(Path(__file__).with_name("celery_exporter_metrics.json").read_text("utf-8"))
NOW_S = 1000.0


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


def write(client: redis.Redis, app: str = "shop") -> None:
    """Have an application do a bit of everything."""
    tally = Tally()
    tally.add("sent", "pay", "web", "q")
    for kind in ("received", "started", "succeeded"):
        tally.add(kind, "pay", "till@market", "q", by=3)
    for seconds in (0.001, 0.3, 20.0):
        tally.runtime("pay", "till@market", "q", seconds)
    tally.add("succeeded", "pay", "other@market", "q", by=2)
    tally.add("failed", "pay", "till@market", "q", "ValueError", by=1)
    tally.add("succeeded", "pay", GONE, "q", by=100)
    workers = {
        "till@market": Worker(at_s=999.0, active=2, processes=4, queues=("q",)),
        "other@market": Worker(at_s=1.0, active=9, processes=8, queues=("q",)),
        "killed@far": Worker(at_s=900.0, active=3, processes=8, queues=("q",)),
    }
    said = {name: celery_workers.encode(worker) for name, worker in workers.items()}
    receiver = '{"at_s": 1000, "heard_s": 1000}'
    Ledger(client, app).flush(tally, NOW_S, 0, workers=said, receiver=receiver)
    look = celery_queues.Look({"q": celery_queues.Queue(length=7)}, 0)
    client.set(keys.celery(app, "look"), celery.sight(look, NOW_S, 10.0))


def samples(client: redis.Redis) -> list[Sample]:
    return list(celery_exporter.samples(client, now_s=NOW_S))


def value(found: list[Sample], name: str, **labels: str) -> float:
    (value,) = [
        each.value
        for each in found
        if each.name == name and labels.items() <= each.labels.items()
    ]  # fmt: skip
    return value


def test_every_metric_it_has_is_there_with_its_labels(client: redis.Redis) -> None:
    write(client)
    found = {each.name: each for each in samples(client)}
    listed = LISTED["metrics"] | LISTED["earlier"]

    assert set(listed) == set(found)
    for name, sample in found.items():
        assert sorted([*listed[name]["labels"], *LISTED["static_labels"]]) == sorted(sample.labels)
        assert listed[name]["type"] == sample.kind


def test_every_query_of_its_dashboards_finds_its_labels(client: redis.Redis) -> None:
    write(client)
    found = {each.name: each for each in samples(client)}

    for name, labels in LISTED["dashboards"]["queries"].items():
        # The job is given by Prometheus itself.
        assert set(labels) - {"job"} <= set(found[name].labels), name


def test_every_family_has_a_help_text_and_comes_in_one_piece(client: redis.Redis) -> None:
    write(client, "shop")
    write(client, "another")
    order = [name for name, _ in itertools.groupby(samples(client), lambda each: each.family)]

    assert len(order) == len(set(order))
    assert set(order) == set(celery_exporter.HELP)


def test_no_sample_comes_twice(client: redis.Redis) -> None:
    write(client, "shop")
    write(client, "another")
    marks = [(each.name, *sorted(each.labels.items())) for each in samples(client)]

    assert len(marks) == len(set(marks))


def test_workers_of_one_host_add_up_and_the_forgotten_are_left_out(client: redis.Redis) -> None:
    write(client)
    found = samples(client)

    assert value(found, "celery_task_succeeded_total", hostname="market") == 5
    assert value(found, "celery_task_failed_total", exception="ValueError") == 1
    assert GONE not in {each.labels.get("hostname") for each in found}


def test_who_has_one_counter_has_all_of_them(client: redis.Redis) -> None:
    write(client)

    assert value(samples(client), "celery_task_retried_total", hostname="market") == 0
    assert value(samples(client), "celery_task_failed_total", exception="") == 0


def test_the_histogram_is_cumulative_in_its_buckets(client: redis.Redis) -> None:
    write(client)
    found = samples(client)
    buckets = {
        each.labels["le"]: each.value
        for each in found
        if each.name == "celery_task_runtime_bucket"
    }  # fmt: skip

    assert list(map(float, buckets)) == list(Histogram.DEFAULT_BUCKETS)
    assert Histogram.DEFAULT_BUCKETS[:-1] == celery_counts.BOUNDS_S
    assert (buckets["0.005"], buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (1, 1, 2, 3)
    assert value(found, "celery_task_runtime_count") == 3
    assert value(found, "celery_task_runtime_sum") == pytest.approx(20.301)


def test_a_killed_worker_is_not_up(client: redis.Redis) -> None:
    write(client)
    found = samples(client)

    assert value(found, "celery_worker_up", hostname="market") == 1
    assert value(found, "celery_worker_up", hostname="far") == 0
    assert value(found, "celery_worker_tasks_active", hostname="far") == 0
    assert value(found, "celery_active_worker_count", queue_name="q") == 1
    assert value(found, "celery_active_process_count", queue_name="q") == 4
    assert value(found, "celery_queue_length", queue_name="q") == 7


def test_our_own_queues_are_counted_now_with_all_priorities(client: redis.Redis) -> None:
    worker = Worker(at_s=NOW_S, processes=4, queues=("outrider.analysis",))
    Ledger(client, OWN).flush(
        Tally(), NOW_S, 0, workers={"outrider@a": celery_workers.encode(worker)}
    )
    client.lpush("outrider.analysis", "1")
    client.lpush("outrider.analysis\x06\x169", "2")

    found = samples(client)
    assert value(found, "celery_queue_length", queue_name="outrider.analysis") == 2
    assert value(found, "celery_worker_up", app=OWN) == 1


def test_an_application_that_nobody_watches_any_more_is_left_out(client: redis.Redis) -> None:
    write(client)

    assert not list(celery_exporter.samples(client, now_s=NOW_S + 90_000))
