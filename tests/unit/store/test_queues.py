from __future__ import annotations

import pytest

from outrider.errors import BadArgument
from outrider.store import queues


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("outrider.collect.host", "outrider.host.h"),
        ("outrider.collect.fleet", "outrider.analysis"),
        ("outrider.supervise.restart", "outrider.host.h"),
        ("outrider.validate.run", "outrider.host.h"),
        ("outrider.analyse.host", "outrider.analysis"),
        ("outrider.alert.notify", "outrider.alerts"),
        ("outrider.warm.key", "outrider.cache"),
        ("outrider.tune.database", "outrider.tuning"),
        ("outrider.maintain.seal", "outrider.analysis"),
        ("mybots.tasks.collect", None),
        ("outriders.collect.host", None),
    ],
)
def test_a_task_goes_to_the_queue_of_its_kind(task: str, queue: str | None) -> None:
    assert queue == queues.of_task(task, host="h")


@pytest.mark.parametrize("host", ["", "a b", "a.b", "-a", "a" * 64, "a\n"])
def test_a_name_that_no_host_can_have_gets_no_queue(host: str) -> None:
    with pytest.raises(BadArgument, match="outrider status"):
        queues.of_host(host)


def test_a_worker_consumes_its_own_queue_and_the_shared_ones() -> None:
    assert {"outrider.host.h", *queues.SHARED} == set(queues.of_worker("h"))
