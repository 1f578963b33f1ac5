"""A foreign Celery application with a worker of its own, watched from ours."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from kombu import pools

from outrider.metrics import celery as celery_metrics
from outrider.metrics import celery_counts, celery_exporter
from outrider.settings import Settings
from outrider.store import connection, keys
from outrider.workers import celery_observer
from outrider.workers.celery_observer import Observer
from tests.servers.valkey import Server
from tests.tasks.nodes import ProcessContainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

WITHIN_S = 20.0
SHOP = """
import os, time
from celery import Celery
from kombu import pools
app = Celery("shop", broker={url!r})
app.conf.update(task_send_sent_event=True, worker_send_task_events=True)

@app.task(name="shop.pay")
def pay():
    return "x" * 100

@app.task(name="shop.fail")
def fail(kind):
    raise (ValueError if kind == "value" else KeyError)("no")

@app.task(name="shop.again", bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0)

@app.task(name="shop.slow")
def slow(seconds):
    time.sleep(seconds)
"""


def eventually(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def _shop_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@dataclass
class Shop:
    """The foreign application, and what we know of it."""

    server: Server
    client: Celery
    ours: redis.Redis
    settings: Settings
    folder: Path
    environment: dict[str, str]

    def worker(self, name: str = "till") -> ProcessContainer:
        argv = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "threads", "-c", "3",
                "-n", f"{name}@market", "-Q", "celery,big", "-l", "INFO"]  # fmt: skip
        return ProcessContainer(
            name, argv, cwd=self.folder, env=self.environment, ready_prompt="ready."
        )

    def observer(self) -> Observer:
        observer = Observer(self.settings.celery[0], self.ours, every_s=1.0)
        observer.start()
        return observer

    def observe(self) -> Observer:
        before = self.state().receiver
        connects = before.connects if before else 0
        observer = self.observer()
        eventually(lambda: (now := self.state().receiver) and now.connects > connects)
        return observer

    def state(self) -> celery_metrics.State:
        return celery_metrics.state_of(self.ours, "shop", 0)

    def series(self, now_s: float | None = None) -> dict[str, float]:
        return celery_metrics.collect(
            self.ours, [], apps=["shop"], now_s=now_s or time.time(), interval_s=1.0
        )

    def total(self, kind: str) -> float:
        return self.series().get(f"celery.shop.tasks.{kind}_total", 0.0)


@pytest.fixture
def shop(
    broker_server: Server, _shop_server: Server, tmp_path: Path, worker_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:  # fmt: skip
    monkeypatch.setattr(celery_observer, "BEAT_S", 0.1)
    url = _shop_server.url
    with connection.connect(url) as broker:
        broker.flushall()
    (tmp_path / "shop.py").write_text(dedent(SHOP.format(url=url)))
    settings = Settings(celery=({"name": "shop", "broker": url},))
    with (
        connection.connect(broker_server.url) as ours,
        Celery("client", broker=url, set_as_current=False) as client,
    ):
        client.conf.task_send_sent_event = True
        yield Shop(_shop_server, client, ours, settings, tmp_path, worker_environment)
    pools.reset()  # a later test flushes what its connections declared


def test_what_tasks_do_is_counted_by_name_worker_and_exception(shop: Shop) -> None:
    observer, worker = shop.observe(), shop.worker()
    try:
        worker.ready()
        for _ in range(5):
            shop.client.send_task("shop.pay")
        shop.client.send_task("shop.fail", args=["value"], queue="big")
        shop.client.send_task("shop.fail", args=["key"])
        shop.client.send_task("shop.again")
        eventually(lambda: shop.total("succeeded") == 6 and shop.total("failed") == 2)
        eventually(lambda: (till := shop.state().workers["till@market"]).queues and till.processes)

        series = shop.series()
        assert {
            "celery.shop.tasks.sent_total": 9, "celery.shop.tasks.received_total": 9,
            "celery.shop.tasks.started_total": 9, "celery.shop.tasks.retried_total": 1,
            "celery.shop.tasks.unseen_total": 0, "celery.shop.tasks.runtime.count": 6,
            "celery.shop.task.shop.pay.succeeded_total": 5,
            "celery.shop.task.shop.fail.failed_total": 2,
            "celery.shop.failures.ValueError_total": 1, "celery.shop.failures.KeyError_total": 1,
            "celery.shop.workers.up": 1, "celery.shop.workers.silent": 0,
            "celery.shop.workers.processes": 3, "celery.shop.queue.big.consumers": 1,
            "celery.shop.broker_up": 1, "celery.shop.receiver_up": 1, "celery.shop.watched": 1,
        }.items() <= series.items()  # fmt: skip
        failed = celery_counts.Field("failed", "shop.fail", "till@market", "big", "ValueError")
        assert celery_counts.read(shop.ours, "shop")[failed] == 1
        exported = {
            (each.name, each.labels.get("hostname"), each.labels.get("queue_name"))
            for each in celery_exporter.samples(shop.ours)
        }
        assert {
            ("celery_worker_up", "market", None),
            ("celery_task_failed_total", "market", "big"),
            ("celery_active_process_count", None, "big"),
        } <= exported
    finally:
        worker.teardown()
        observer.stop()


def test_a_killed_worker_is_silent_and_one_that_ends_is_not(shop: Shop) -> None:
    observer = shop.observe()
    killed, ended = shop.worker("killed"), shop.worker("ended")
    try:
        killed.ready()
        ended.ready()
        eventually(lambda: shop.series().get("celery.shop.workers.up") == 2)
        killed.kill("SIGKILL")
        ended.kill("SIGTERM")
        eventually(lambda: shop.state().workers["ended@market"].offline)

        series = shop.series()
        assert series["celery.shop.workers.up"] == 1  # nobody knows yet
        observer.stop()
        # The receiver lives on, the worker does not: the same records, a while later.
        state = shop.state()
        later_s = state.workers["killed@market"].at_s + 16
        assert state.workers["killed@market"].state(later_s) == "silent"
        shop.ours.set(
            keys.celery("shop", "receiver"), f'{{"at_s": {later_s}, "heard_s": {later_s}}}'
        )
        series = shop.series(later_s)
        assert series["celery.shop.workers.silent"] == 1
        assert series["celery.shop.worker.killed@market.up"] == 0
        assert "celery.shop.worker.ended@market.up" not in series
    finally:
        killed.teardown()
        ended.teardown()
        observer.stop()


def test_counts_go_on_with_another_observer_and_tasks_unheard_are_counted(shop: Shop) -> None:
    first, worker = shop.observe(), shop.worker()
    try:
        worker.ready()
        for _ in range(3):
            shop.client.send_task("shop.pay")
        eventually(lambda: shop.total("succeeded") == 3)
        first.stop()

        for _ in range(4):  # nobody listens
            shop.client.send_task("shop.pay")
        eventually(lambda: worker.logs().count("succeeded in") == 7)
        second = shop.observe()
        shop.client.send_task("shop.pay")

        eventually(lambda: shop.total("succeeded") == 4 and shop.total("unseen") == 4)
        second.stop()
    finally:
        worker.teardown()
        first.stop()


def test_two_observers_count_once(shop: Shop) -> None:
    first, second = shop.observe(), shop.observer()
    worker = shop.worker()
    try:
        worker.ready()
        shop.client.send_task("shop.pay")
        eventually(lambda: shop.total("succeeded"))
        first.stop()
        second.stop()

        assert shop.total("succeeded") == 1
    finally:
        worker.teardown()
        first.stop()
        second.stop()


def test_a_broker_that_is_away_is_a_state_and_comes_back(shop: Shop) -> None:
    observer = shop.observe()
    try:
        eventually(lambda: shop.series().get("celery.shop.broker_up") == 1)
        shop.server.kill()
        eventually(lambda: shop.series().get("celery.shop.broker_up") == 0)
        shop.server.start()
        eventually(lambda: shop.series().get("celery.shop.broker_up") == 1)
        eventually(lambda: shop.series()["celery.shop.receiver_connects_total"] >= 2)
    finally:
        observer.stop()


def test_queues_are_found_and_looked_at_without_a_worker(shop: Shop) -> None:
    observer = shop.observe()
    try:
        for priority in range(10):
            shop.client.send_task("shop.pay", queue="big", priority=priority)

        eventually(lambda: shop.series().get("celery.shop.queue.big.length") == 10)
        eventually(lambda: shop.series().get("celery.shop.queue.big.oldest_age_s", 0) > 0.5)
        assert shop.series()["celery.shop.queue.big.consumers"] == 0
    finally:
        observer.stop()


def test_a_broker_that_hangs_is_noticed_and_heard_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_observer, "PING_EVERY_S", 0.3)
    monkeypatch.setattr(celery_observer, "DEAF_AFTER_S", 1.5)
    observer = shop.observe()
    try:
        shop.server.freeze()  # its connections stay open
        eventually(lambda: shop.series().get("celery.shop.broker_up") == 0)
        shop.server.thaw()
        eventually(lambda: shop.series()["celery.shop.receiver_connects_total"] >= 2)
        shop.client.send_task("shop.pay")
        eventually(lambda: shop.total("sent") == 1)
    finally:
        shop.server.thaw()
        observer.stop()
