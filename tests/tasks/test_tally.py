"""Our own worker's counts, over restarts and kills of a real one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from outrider.metrics import celery as celery_metrics
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_celery import CeleryTestSetup

    from tests.servers.valkey import Server

WITHIN_S = 20.0


def eventually(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s"
        time.sleep(0.05)
    return found


def test_counts_go_on_when_our_worker_restarts_and_say_when_it_was_killed(
    celery_setup: CeleryTestSetup, broker_server: Server
) -> None:
    client = connection.connect(broker_server.url)

    def series() -> dict[str, float]:
        return celery_metrics.collect(client, [], now_s=time.time(), interval_s=10.0)

    def run(ticks: range) -> None:
        sent = [
            celery_setup.app.send_task(
                "outrider.collect.host", kwargs={"host": "testhost", "tick": tick}
            )
            for tick in ticks
        ]
        for each in sent:
            each.get(timeout=WITHIN_S)

    succeeded = "celery.task.outrider.collect.host.succeeded_total"
    run(range(3))
    celery_setup.worker.container.restart()  # at once: counts of the last second are flushed
    assert series()[succeeded] == 3
    run(range(3, 5))
    eventually(lambda: series()[succeeded] == 5)
    values = series()
    assert values["celery.tasks.runtime.count"] == 5
    assert values["celery.tasks.unclean_total"] == 0
    assert eventually(lambda: series().get("celery.workers.up")) == 1
    assert values["celery.worker.outrider@testhost.processes"] == 4

    celery_setup.worker.kill()
    celery_setup.worker.container.restart()
    eventually(lambda: series()["celery.tasks.unclean_total"] == 1)
    assert series()[succeeded] == 5
