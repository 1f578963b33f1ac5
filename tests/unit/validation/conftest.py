"""A stack that a phase can measure: real Redis, rows that come with the time, tasks that end."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from outrider.alerts import journal
from outrider.clock import tick_at, tick_start
from outrider.settings import Settings
from outrider.store import connection, keys
from outrider.store.redis import RedisStore
from outrider.supervisor.spec import ProcessSpec
from outrider.supervisor.supervisor import Supervisor
from outrider.validation.env import Env

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

NOW_S = 1_700_000_003.0
HOST = "one"
LAG_S = 0.25


class Time:
    """A clock that moves when somebody sleeps, and then does what is due at that time."""

    def __init__(self) -> None:
        self.at_s = NOW_S
        self.then: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.at_s

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        self.then()


class TasksInHand:
    """Tasks that end ``after_s`` of the clock after they were sent, unless they are lost."""

    def __init__(self, time: Time, *, after_s: float = 0.01) -> None:
        self.time = time
        self.after_s = after_s
        self.lose: Callable[[int], bool] = lambda _number: False
        self.fail: Callable[[int], bool] = lambda _number: False
        self.sent_s: dict[str, float] = {}
        self.forgotten: list[str] = []

    def send(self) -> str:
        task_id = str(len(self.sent_s))
        self.sent_s[task_id] = self.time.now()
        return task_id

    def finished(self, ids: Collection[str]) -> dict[str, bool]:
        return {
            task_id: not self.fail(int(task_id))
            for task_id in ids
            if self.sent_s[task_id] + self.after_s <= self.time.now()
            and not self.lose(int(task_id))
        }

    def forget(self, ids: Collection[str]) -> None:
        self.forgotten += ids


class Stack:
    """What the worker and beat would do, on a clock of the test's."""

    def __init__(self, env: Env, time: Time) -> None:
        self.env = env
        self.time = time
        self.skipped: set[int] = set()
        self.stopped = False
        time.then = self.work

    def work(self) -> None:
        """Store the row of every tick that began ``LAG_S`` ago."""
        tick = tick_at(self.time.now(), self.env.store.interval_s)
        begun_s = self.time.now() - tick_start(tick, self.env.store.interval_s)
        if not self.stopped and begun_s >= LAG_S and tick not in self.skipped:
            self.tick(tick)

    def tick(self, tick: int) -> None:
        """Do one whole tick: row, fleet row, report, alerts, heartbeat."""
        env, at_s = self.env, tick_start(tick, self.env.store.interval_s)
        for host in (HOST, keys.FLEET):
            env.store.append(host, tick, {"host.load.1m": 1.0, "host.load.5m": 2.0})
        env.redis.set(keys.report(HOST), json.dumps({"at_s": at_s, "verdict": "All is well."}))
        journal.commit(env.redis, HOST, tick, [], [])
        env.redis.zadd(keys.HOSTS, {HOST: self.time.now()})

    def past(self, ticks: int) -> None:
        """Do the ticks that lie behind, the present one included."""
        now = tick_at(self.time.now(), self.env.store.interval_s)
        for tick in range(now - ticks + 1, now + 1):
            if tick not in self.skipped:
                self.tick(tick)

    def wrote(self, **addresses: object) -> None:
        """Leave the file that a running stack leaves."""
        folder = self.env.settings.run_dir()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stack.json").write_text(json.dumps(addresses), encoding="utf-8")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tasks(time: Time) -> TasksInHand:
    return TasksInHand(time)


@pytest.fixture
def env(valkey_url: str, tmp_path: Path, time: Time, tasks: TasksInHand) -> Iterator[Env]:
    settings = Settings.model_validate({"host": HOST, "data_dir": tmp_path})
    with connection.connect(valkey_url) as client:
        store = RedisStore(valkey_url, interval_s=10.0, client=client)
        yield Env(
            settings, valkey_url, client, store, tasks,
            clock=time, sleep=time.sleep, run="20231114T221323Z-abcdef",
        )  # fmt: skip


@pytest.fixture
def stack(env: Env, time: Time) -> Stack:
    return Stack(env, time)


@pytest.fixture
def supervisor(env: Env) -> Iterator[Supervisor]:
    """A real supervisor of the folder, in a thread of its own, with one ready part of the stack."""
    running = Supervisor(run_dir=env.settings.run_dir(), logs_dir=env.settings.data_dir / "logs")
    ready, end = threading.Event(), threading.Event()

    async def live() -> None:
        await running.open()
        part = running.add(
            ProcessSpec(
                name="worker", kind="stack", readiness="probe", probe=lambda: "",
                argv=(sys.executable, "-c", "import time; time.sleep(600)"),
            )
        )  # fmt: skip
        part.start()
        while part.state != "ready":
            await part.changed.wait()
        ready.set()
        await asyncio.to_thread(end.wait)
        await running.stop()
        await running.close()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert ready.wait(20), "the supervisor did not start"
    yield running
    end.set()
    thread.join()
