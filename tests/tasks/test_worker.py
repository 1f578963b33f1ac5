"""Real workers, real messages, real kills."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import TimeoutError as TooLate

from outrider.store import connection, keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_celery import CeleryTestSetup

    from tests.servers.valkey import Server

HOST = "testhost"
WITHIN_S = 20.0

# A user's own application around ours; quick to notice that a worker died.
OWN_TASKS = """
import os, time
from outrider.workers import config, lifecycle
config.VISIBILITY_S = 2
lifecycle.EXTEND_EVERY_S = 0.5
from outrider.tasks.base import OutriderTask
from outrider.workers.app import app

@app.task(name="own.note", base=OutriderTask)
def note(path: str, seconds: float = 0.0) -> str:
    with open(path, "a") as file:
        file.write(f"began {os.getpid()}\\n")
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write("done\\n")
    return "noted"
"""


def eventually(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s"
        time.sleep(0.05)
    return found


@pytest.fixture
def _own_app(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_TASKS)


@pytest.fixture
def worker_argv(request: pytest.FixtureRequest) -> list[str]:
    if "_own_app" not in request.fixturenames:
        return [sys.executable, "-m", "outrider", "worker"]
    return [sys.executable, "-m", "celery", "-A", "own", "worker", "-l", "INFO"]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_tick_runs_through_the_whole_chain(
    celery_setup: CeleryTestSetup, broker_server: Server
) -> None:
    client = connection.connect(broker_server.url)
    tick = int(time.time() // 10)
    eventually(lambda: client.zscore(keys.HOSTS, HOST))

    sent = celery_setup.app.send_task("outrider.collect.fleet", kwargs={"tick": tick})

    assert {"tick": tick, "hosts": [HOST], "stored": True} == sent.get(timeout=WITHIN_S)
    for host in (HOST, keys.FLEET):
        done = eventually(partial(client.hget, keys.alert_state(host), "#tick"))
        assert str(tick) == done.decode()
        report = json.loads(client.get(keys.report(host)))  # type: ignore[arg-type]
        assert tick == report["tick"]
    row = RedisStore(broker_server.url).last(HOST)
    assert row is not None
    assert row.values["host.memory.available_bytes"] > 0


def test_a_chain_goes_on_to_notify_only_when_there_is_something_to_tell(
    celery_setup: CeleryTestSetup, broker_server: Server
) -> None:
    client = connection.connect(broker_server.url)
    store = RedisStore(broker_server.url)

    def chained(tick: int, failed: float) -> str:
        store.append(HOST, tick, {"bot.a.failed": failed})
        sent = (
            celery_setup.app.signature(
                "outrider.alert.evaluate", kwargs={"host": HOST, "tick": tick}
            )
            | celery_setup.app.signature("outrider.alert.notify")
        ).apply_async()
        sent.parent.get(timeout=WITHIN_S)
        # The next link is sent before this one is acknowledged.
        eventually(lambda: not client.hlen("unacked") and not client.llen("outrider.alerts"))
        return f"celery-task-meta-{sent.id}"

    assert not client.exists(chained(100, failed=0.0))
    notified = chained(101, failed=1.0)
    eventually(lambda: client.exists(notified))


def test_a_tick_that_is_delivered_twice_is_stored_once(
    celery_setup: CeleryTestSetup, broker_server: Server
) -> None:
    results = [
        celery_setup.app.send_task("outrider.collect.host", kwargs={"host": HOST, "tick": 7})
        for _ in range(2)
    ]

    stored = sorted(result.get(timeout=WITHIN_S)["stored"] for result in results)

    assert stored == [False, True]
    store = RedisStore(broker_server.url)
    assert store.ticks(HOST, 0, 1000) == [7]
    row = store.last(HOST)
    assert row is not None
    assert row.values["store.damaged_total"] == row.values["store.refused_total"] == 0.0


@pytest.mark.parametrize(
    ("task", "kwargs", "words"),
    [
        ("outrider.collect.host", {"tick": "soon"}, "tick = 'soon': Expected `int | null`"),
        ("outrider.collect.host", {"tock": 1}, "unexpected keyword argument 'tock'"),
        ("outrider.supervise.restart", {}, "missing a required argument: 'bot'"),
        ("outrider.collect.host", {"host": HOST + "x"}, "no such queue consumer"),
    ],
)
def test_bad_arguments_are_refused_and_not_retried(
    celery_setup: CeleryTestSetup, task: str, kwargs: dict[str, Any], words: str
) -> None:
    sent = celery_setup.app.send_task(task, kwargs=kwargs)
    if words == "no such queue consumer":
        # Another host's queue: this worker leaves the message alone.
        with pytest.raises(TooLate):
            sent.get(timeout=1.0)
        return

    with pytest.raises(Exception, match=words.replace("|", r"\|")) as caught:
        sent.get(timeout=WITHIN_S)

    assert type(caught.value).__name__ == "BadArgument"
    assert celery_setup.worker.logs().count("received") == 1


@pytest.mark.usefixtures("_own_app")
def test_celery_runs_our_application_by_itself(celery_setup: CeleryTestSetup) -> None:
    answers = celery_setup.app.control.ping(timeout=10, limit=1)
    registered = celery_setup.app.control.inspect(timeout=10, limit=1).registered()

    assert [f"celery@{os.uname().nodename}"] == [name for answer in answers for name in answer]
    assert {"own.note", "outrider.collect.host"} <= {
        name.partition(" ")[0] for names in registered.values() for name in names
    }


@pytest.mark.usefixtures("_own_app")
def test_a_task_whose_worker_is_killed_runs_again(
    celery_setup: CeleryTestSetup, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    sent = celery_setup.app.send_task(
        "own.note", kwargs={"path": str(notes), "seconds": 1.0}, queue="outrider.analysis"
    )
    eventually(lambda: lines(notes))
    celery_setup.worker.kill()
    celery_setup.worker.container.restart()

    assert sent.get(timeout=WITHIN_S) == "noted"
    assert [line.split()[0] for line in lines(notes)] == ["began", "began", "done"]


@pytest.mark.usefixtures("_own_app")
def test_a_task_longer_than_the_visibility_runs_once(
    celery_setup: CeleryTestSetup, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    sent = celery_setup.app.send_task(
        "own.note", kwargs={"path": str(notes), "seconds": 5.0}, queue="outrider.analysis"
    )

    assert sent.get(timeout=WITHIN_S) == "noted"
    assert [line.split()[0] for line in lines(notes)] == ["began", "done"]


@pytest.mark.usefixtures("_own_app")
def test_a_task_beyond_its_limit_ends_its_worker(
    celery_setup: CeleryTestSetup, tmp_path: Path
) -> None:
    celery_setup.app.send_task(
        "own.note", kwargs={"path": str(tmp_path / "notes"), "seconds": 60.0},
        queue="outrider.analysis", time_limit=1,
    )  # fmt: skip

    assert celery_setup.worker.container.wait() == -signal.SIGKILL
    assert "beyond its limit of 1" in celery_setup.worker.logs()


@pytest.mark.usefixtures("_own_app")
def test_a_worker_goes_on_after_the_server_was_killed(
    celery_setup: CeleryTestSetup, broker_server: Server, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    celery_setup.broker.container.restart()
    kwargs = {"path": str(notes)}
    sent = celery_setup.app.send_task("own.note", kwargs=kwargs, queue="outrider.analysis")

    assert sent.get(timeout=WITHIN_S) == "noted"


def test_a_users_own_application_runs_our_tasks(
    broker_server: Server, worker_environment: dict[str, str], tmp_path: Path
) -> None:
    from celery import Celery

    from tests.tasks.nodes import ProcessContainer, close

    url = broker_server.url
    (tmp_path / "shop.py").write_text(
        dedent(f"""
        from celery import Celery
        app = Celery("shop", broker={url!r}, backend={url!r}, include=["outrider.tasks"])

        @app.task(name="shop.hello")
        def hello():
            return "hello"
        """)
    )
    (tmp_path / "tasks.py").write_text("raise RuntimeError('their own, not ours')\n")
    del worker_environment["OUTRIDER_REDIS_URL"]  # its broker serves
    argv = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "threads", "-l", "INFO"]
    worker = ProcessContainer(
        "shop", argv, cwd=tmp_path, env=worker_environment, ready_prompt="ready."
    )
    try:
        worker.ready()
        client = Celery("client", broker=url, backend=url, set_as_current=False)
        ours = client.send_task("outrider.collect.host", kwargs={"tick": 3})
        theirs = client.send_task("shop.hello")

        assert ours.get(timeout=WITHIN_S)["stored"]
        assert theirs.get(timeout=WITHIN_S) == "hello"
        close(client)
    finally:
        worker.teardown()
