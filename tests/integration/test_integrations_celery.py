"""Celery: a bot that sends tasks, a worker in this process, and one with a pool of processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Ignore, Reject

from outrider.metrics import frame
from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Celery still calls what redis-py has a newer name for.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
SOON_S = 40.0


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def application(url: str) -> Celery:
    app = Celery("jobs", broker=url, backend=url, set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)

    @app.task(name="jobs.double")
    def double(number: int) -> int:
        return number * 2

    @app.task(name="jobs.broken")
    def broken() -> None:
        raise LookupError("because")

    @app.task(name="jobs.again", bind=True, max_retries=2)
    def again(self: Any) -> str:
        if self.request.retries < 2:
            raise self.retry(countdown=0.01)
        return "done"

    @app.task(name="jobs.refuse")
    def refuse(how: str) -> None:
        raise {"ignore": Ignore, "reject": Reject}[how]

    return app


def test_tasks_are_told_as_sent_and_as_run(recorder: Recorder, valkey_url: str) -> None:
    app = application(valkey_url)
    assert recorder.instrument(app) is app
    recorder.instrument(app)
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        assert app.send_task("jobs.double", (3,), headers={"mine": 1}).get(timeout=SOON_S) == 6
        assert app.tasks["jobs.double"].delay(4).get(timeout=SOON_S) == 8
        with pytest.raises(LookupError, match="because"):
            app.tasks["jobs.broken"].delay().get(timeout=SOON_S)
        assert app.tasks["jobs.again"].delay().get(timeout=SOON_S) == "done"
        for how in ("ignore", "reject"):
            app.tasks["jobs.refuse"].delay(how)
        app.tasks["jobs.double"].apply_async((5,), countdown=0.3).get(timeout=SOON_S)
        deadline = time.monotonic() + SOON_S
        while recorder.timed("celery.jobs.refuse") != {"celery.jobs.refuse": 2}:
            assert time.monotonic() < deadline, recorder.timed("")
            time.sleep(0.01)

    assert recorder.timed("celery") == {
        "celery.jobs.double": 3, "celery.jobs.broken": 1, "celery.jobs.again": 3,
        "celery.jobs.refuse": 2, "celery.queue_wait": 9,
    }  # fmt: skip
    assert recorder.counted("celery") == {
        "celery.jobs.double.sent": 3, "celery.jobs.broken.sent": 1, "celery.jobs.again.sent": 3,
        "celery.jobs.refuse.sent": 2, "celery.jobs.again.retries": 2,
        "celery.jobs.broken.errors": 1, "celery.errors.LookupError": 1,
    }  # fmt: skip
    # The ETA is not waited for by the queue, but by whoever asked for it.
    assert max(recorder.timings["celery.queue_wait"]) < 5
    assert recorder.counted("instrument") == {}


def test_another_app_of_the_process_is_left_alone(recorder: Recorder) -> None:
    mine, other = Celery("mine", broker="memory://"), Celery("other", broker="memory://")
    recorder.instrument(mine)
    other.send_task("jobs.double")
    mine.send_task("jobs.double")

    assert recorder.counters == {"celery.jobs.double.sent": 1}


def test_configuring_an_app_after_it_was_instrumented_still_counts(recorder: Recorder) -> None:
    app = recorder.instrument(Celery("late", set_as_current=False))
    app.conf.update(broker_url="memory://", task_serializer="json")
    assert app.connection_for_write().transport_cls == "memory"
    app.send_task("jobs.double")


def test_tasks_that_could_not_be_sent_do_not_count(recorder: Recorder) -> None:
    app = recorder.instrument(Celery("away", broker="redis://127.0.0.1:9/0", set_as_current=False))
    with pytest.raises(Exception, match="refused"):
        app.send_task("jobs.double", retry=False)

    assert recorder.counters == {}


JOBS = """
import os, signal, time
import outrider
from celery import Celery

app = Celery("jobs", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
outrider.Bot("worker").instrument(app)

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__()
        self.lock = __import__("threading").Lock()

@app.task(name="jobs.double")
def double(number): return number * 2

@app.task(name="jobs.broken")
def broken(): raise Odd(1, 2)

@app.task(name="jobs.slow", time_limit=1)
def slow(): time.sleep(60)

@app.task(name="jobs.killed")
def killed(): os.kill(os.getpid(), signal.SIGKILL)
"""


class Worker:
    """A worker with a pool of processes, and what its main process says of itself."""

    def __init__(self, folder: Path, broker: str) -> None:
        (folder / "jobs.py").write_text(JOBS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "t.sock"))
        self._socket.settimeout(0.2)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "jobs",
                    "worker",
                    "-c",
                    "2",
                    "-P",
                    "prefork",
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
                env=os.environ
                | {"BROKER": broker, "OUTRIDER_TELEMETRY": self._socket.getsockname()},
            )
        self.said = frame.Frame("worker", 0, 0.0)

    def until(self, *counters: str) -> None:
        deadline = time.monotonic() + SOON_S
        while not set(counters) <= {*self.said.counters, *self.said.timings}:
            assert time.monotonic() < deadline, (self.said, self._log.read_text())
            assert self.process.poll() is None, self._log.read_text()
            try:
                heard = frame.decode(self._socket.recv(frame.MOST_BYTES))
            except TimeoutError:
                continue
            if heard.pid == self.process.pid:  # as the supervisor, which hears no children
                self.said = heard

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self._socket.close()


@contextmanager
def working(folder: Path, broker: str) -> Iterator[Worker]:
    worker = Worker(folder, broker)
    try:
        yield worker
    finally:
        worker.stop()


def test_a_pool_of_processes_is_told_of_by_its_main_process(
    recorder: Recorder, tmp_path: Path, valkey_url: str
) -> None:
    sender = recorder.instrument(Celery("jobs", broker=valkey_url, set_as_current=False))
    for name, args in (
        ("jobs.double", (2,)), ("jobs.broken", ()), ("jobs.slow", ()), ("jobs.killed", ()),
    ):  # fmt: skip
        sender.send_task(name, args)
    with working(tmp_path, valkey_url) as worker:
        worker.until("celery.jobs.double", "celery.queue_wait", "celery.errors.Odd")
        worker.until("celery.errors.TimeLimitExceeded", "celery.errors.WorkerLostError")
        said = worker.said

    assert said.counters == {
        "celery.jobs.broken.errors": 1, "celery.errors.Odd": 1,
        "celery.jobs.slow.errors": 1, "celery.errors.TimeLimitExceeded": 1,
        "celery.jobs.killed.errors": 1, "celery.errors.WorkerLostError": 1,
    }  # fmt: skip
    assert {"celery.jobs.double", "celery.jobs.broken", "celery.queue_wait"} <= set(said.timings)
