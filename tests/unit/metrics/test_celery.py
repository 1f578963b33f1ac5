from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import Celery
from kombu import Queue

from outrider.metrics import celery as celery_metrics
from outrider.store import connection

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


def test_queues_that_do_not_exist_are_empty(client: redis.Redis) -> None:
    assert celery_metrics.collect(client, ["a"]) == {
        "celery.queue.a.length": 0,
        "celery.unacked": 0,
    }
    assert celery_metrics.collect(client, []) == {"celery.unacked": 0}


def test_messages_of_every_priority_count(client: redis.Redis, app: Celery) -> None:
    for priority in range(10):
        app.send_task("t", queue="a", priority=priority)
    app.send_task("t", queue="b")

    assert celery_metrics.collect(client, ["b", "a"]) == {
        "celery.queue.b.length": 1, "celery.queue.a.length": 10, "celery.unacked": 0,
    }  # fmt: skip


def test_messages_that_a_worker_holds_count_as_unacknowledged(
    client: redis.Redis, app: Celery
) -> None:
    for _ in range(3):
        app.send_task("t", queue="a")
    with app.connection() as broker:
        assert broker.SimpleQueue("a").get(timeout=5)
        assert celery_metrics.collect(client, ["a"]) == {
            "celery.queue.a.length": 2, "celery.unacked": 1,
        }  # fmt: skip
