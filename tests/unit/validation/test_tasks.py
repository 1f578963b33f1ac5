from __future__ import annotations

from typing import TYPE_CHECKING, Any

import celery
import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from outrider.errors import BadArgument
from outrider.store import connection, queues
from outrider.tasks import context, validate
from outrider.validation import report
from outrider.validation.phases import monitoring
from outrider.workers import config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.tasks.context import Context
    from outrider.validation.env import Env

# Celery 5.7's Redis backend uses a call that redis-py 8 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture
def ctx(env: Env, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    made = context.build(env.settings, env.redis_url)
    monkeypatch.setattr(context, "current", lambda: made)
    yield made
    made.redis.close()


@pytest.fixture(autouse=True)
def app(env: Env) -> Iterator[Celery]:
    """The application as the stack sets it up. A task belongs to the current one, whichever it is.

    Another test may have made the stack's own current, which asks for a stack in this folder.
    """
    before: Any = celery.current_app
    before = before._get_current_object()
    made = Celery("outrider", set_as_current=True)
    made.conf.update(config.celery_config(env.settings, env.redis_url))
    made.conf.update(include=[])
    yield made
    made.close()
    before.set_current()


@pytest.fixture
def worker(app: Celery, ctx: Context) -> Iterator[None]:
    """A worker in this process, with a single thread."""
    with start_worker(
        app, pool="threads", concurrency=1, perform_ping_check=False, shutdown_timeout=20,
        queues=queues.of_worker(ctx.settings.host),
    ):  # fmt: skip
        yield


def test_a_phase_answers_with_its_summary_and_keeps_the_report(ctx: Context) -> None:
    summary: dict[str, Any] = validate.phase("cache")
    kept = report.newest(ctx.redis)
    assert kept is not None
    assert summary == report.summary(kept)
    assert [phase["name"] for phase in summary["phases"]] == ["cache"]
    assert report.path_of(ctx.settings.data_dir, kept.run).exists()


def test_phases_run_in_order_whatever_the_order_asked(ctx: Context) -> None:
    summary: dict[str, Any] = validate.run(["cache", "database"])
    assert [phase["name"] for phase in summary["phases"]] == ["database", "cache"]


def test_an_unknown_phase_is_refused_at_the_door(ctx: Context) -> None:
    with pytest.raises(BadArgument, match="no phase 'nope'; known: baseline"):
        validate.phase("nope")


def test_the_tasks_belong_to_the_host_they_measure() -> None:
    for task in (validate.run, validate.phase):
        assert queues.of_task(task.name, host="one") == "outrider.host.one"
        assert task.time_limit == 300


@pytest.mark.usefixtures("worker")
def test_tasks_go_through_broker_and_worker_and_leave_nothing(app: Celery, valkey_url: str) -> None:
    probes = validate.Probes(app)
    sent = [probes.send() for _ in range(3)]
    ended: dict[str, bool] = {}
    with connection.connect(valkey_url) as client:
        while len(ended) < 3:
            ended = probes.finished(sent)
        assert dict.fromkeys(sent, True) == ended
        probes.forget(sent)
        assert list(client.scan_iter("celery-task-meta-*")) == []
        assert list(client.scan_iter("or:*outrider-validation*")) == []


@pytest.mark.usefixtures("worker")
def test_a_validation_on_the_only_thread_of_a_worker_fails_the_figure_and_ends(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "ANSWER_WITHIN_S", 0.5)
    sent = app.send_task("outrider.validate.phase", kwargs={"name": "monitoring"})
    summary: dict[str, Any] = sent.get(timeout=60)
    missed = summary["phases"][0]["missed"]
    assert any("no worker answered within 0.5 s" in line for line in missed)
