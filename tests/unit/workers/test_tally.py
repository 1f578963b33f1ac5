from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.exceptions import Reject

from outrider.metrics import celery_counts
from outrider.metrics.celery_counts import OWN, Field
from outrider.metrics.celery_queues import SENT_HEADER
from outrider.store import connection, keys
from outrider.workers.tally import Counting

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
        yield app


@pytest.fixture
def counting(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    monkeypatch.setattr("outrider.workers.tally.FLUSH_EVERY_S", 60.0)  # tests say when
    counting = Counting(
        lambda: connection.connect(valkey_url), worker="outrider@a", interval_s=10.0
    )
    counting.begin()
    yield counting
    counting.end()


def kinds(client: redis.Redis) -> dict[tuple[str, str], int]:
    found = celery_counts.read(client, OWN)
    return {
        (field.kind, field.exception): by
        for field, by in found.items()
        if field.kind != "us" and not field.kind.startswith("le")
    }


def test_what_tasks_do_in_this_process_is_counted(
    app: Celery, counting: Counting, client: redis.Redis
) -> None:
    @app.task(name="own.do", bind=True, max_retries=1)
    def do(self: Any, what: str) -> None:
        if what == "fail":
            raise ValueError
        if what == "reject":
            raise Reject
        if what == "retry" and not self.request.retries:
            raise self.retry(countdown=0)

    for what in ("well", "fail", "retry", "reject"):
        do.apply(args=(what,))
    counting.flush()

    assert kinds(client) == {
        ("started", ""): 5, ("succeeded", ""): 2, ("failed", "ValueError"): 1, ("retried", ""): 1,
        ("rejected", ""): 1,
    }  # fmt: skip
    assert counting._running == {}


def test_what_is_sent_is_counted_and_carries_the_time(
    app: Celery, counting: Counting, client: redis.Redis
) -> None:
    app.send_task("own.do", queue="q")
    counting.flush()

    assert celery_counts.read(client, OWN) == {Field("sent", "own.do", "outrider@a", "q"): 1}
    assert SENT_HEADER in client.lindex("q", 0).decode()  # type: ignore[union-attr]


def test_counts_wait_while_redis_is_away(app: Celery, client: redis.Redis) -> None:
    addresses = iter(["redis://127.0.0.1:1/0"])
    counting = Counting(
        lambda: connection.connect(next(addresses)), worker="outrider@a", interval_s=10.0
    )
    counting.tally.add("succeeded", "t", "outrider@a", "q")
    counting.flush()
    assert counting._ledger
    assert counting._ledger.waits
    counting._ledger._flush.registered_client = client
    counting.flush()

    assert kinds(client) == {("succeeded", ""): 1}


def test_a_process_that_was_killed_is_counted_by_its_successor(
    counting: Counting, client: redis.Redis
) -> None:
    counting.mark()
    counting.flush()
    assert kinds(client) == {}
    counting.mark()  # the one before never said goodbye
    counting.flush()

    assert kinds(client) == {("unclean", ""): 1}
    counting.end()
    assert not client.exists(keys.celery(OWN, "open"))


def test_a_forked_process_counts_what_it_does_itself(
    counting: Counting, client: redis.Redis
) -> None:
    counting._count("succeeded", "parent", "q")
    pid = os.fork()
    if not pid:
        try:
            counting._count("succeeded", "child", "q")
            counting.flush()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert {field.task: by for field, by in celery_counts.read(client, OWN).items()} == {"child": 1}
    counting.flush()

    assert {field.task: by for field, by in celery_counts.read(client, OWN).items()} == {
        "child": 1, "parent": 1,
    }  # fmt: skip
