from __future__ import annotations

import pytest

from outrider.errors import BadArgument
from outrider.settings import Settings
from outrider.store import queues
from outrider.workers import config


@pytest.mark.parametrize(
    ("expected", "task", "kwargs"),
    [
        ("outrider.host.here", "outrider.collect.host", {}),
        ("outrider.host.there", "outrider.collect.host", {"host": "there"}),
        ("outrider.host.there", "outrider.supervise.restart", {"host": "there", "bot": "a"}),
        ("outrider.analysis", "outrider.collect.fleet", {}),
        ("outrider.analysis", "outrider.analyse.host", {"host": "there"}),
        ("outrider.alerts", "outrider.alert.notify", {}),
        ("outrider.cache", "outrider.warm.run", {}),
        ("outrider.tuning", "outrider.tune.all", {}),
        ("outrider.analysis", "outrider.maintain.seal", {}),
    ],
)
def test_tasks_go_to_their_queues(expected: str, task: str, kwargs: dict[str, str]) -> None:
    route = config.Router("here").route_for_task(task, kwargs=kwargs)

    assert {"queue": expected} == route


def test_tasks_of_others_are_left_alone() -> None:
    assert config.Router("here").route_for_task("mybots.tasks.cleanup") is None


def test_a_host_that_can_not_exist_is_refused() -> None:
    with pytest.raises(BadArgument, match="no host name"):
        queues.of_host("a\nb")


def test_only_json_is_taken_and_nothing_is_acknowledged_early() -> None:
    made = config.celery_config(Settings(host="here"), "redis://127.0.0.1/0")

    assert made["accept_content"] == ["json"]
    assert made["task_acks_late"]
    assert made["task_reject_on_worker_lost"]
    assert made["worker_prefetch_multiplier"] == 1
    assert made["broker_transport_options"]["unacked_restore_interval"] == 1
    assert {queue.name for queue in made["task_queues"]} == set(queues.of_worker("here"))
