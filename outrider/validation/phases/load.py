"""Work at the rate of a hundred hosts, for five seconds: tasks, rows and heartbeats at once.

Bounded in count and in time, on names of its own that are removed afterwards. A late start is
caught up, as bots and beats would, so that the rate offered is the rate planned.
"""

from __future__ import annotations

import contextlib
import select
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from outrider.clock import tick_at
from outrider.errors import SupervisorUnavailable
from outrider.metrics import frame as frames
from outrider.sdk import bot
from outrider.store import keys
from outrider.store.redis import RedisStore
from outrider.validation import timing
from outrider.validation.figure import Figure, fact
from outrider.validation.targets import judge, unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.validation.env import Env, Tasks

LASTS_S = 5.0
# Four tasks a host and tick: what some 125 hosts send at the default interval of 10 s.
TASKS_PER_S = 50
ROWS_PER_S = 25
FRAMES_PER_S = 50
SERIES = 300  # a host with some twenty bots
DRAINED_WITHIN_S = 5.0
_PAUSE_S = 0.004
# Should the validation be killed, its rows go by themselves.
_KEPT_S = 600.0
_BOT = "outrider-validation"


def run(env: Env) -> Iterator[Figure]:
    """Send for five seconds, wait at most five more for what is under way, and count."""
    streams: list[_Stream] = []
    tasks = _Tasks(env, env.tasks) if env.tasks else None
    rows, telemetry = _Rows(env), _Frames(env)
    if tasks:
        streams.append(_Stream(TASKS_PER_S, tasks.send))
    streams.append(_Stream(ROWS_PER_S, rows.append))
    if telemetry.open():
        streams.append(_Stream(FRAMES_PER_S, telemetry.send))
    try:
        lasted_s = _drive(env, streams, tasks.look if tasks else lambda: None)
        if tasks:
            tasks.drain()
        yield fact("load.seconds", lasted_s, "s")
        yield from tasks.figures() if tasks else _no_tasks()
        yield from rows.figures()
        yield from telemetry.figures()
    finally:
        telemetry.close()
        if tasks:
            tasks.forget()
        left = rows.remove()
    yield judge("load.left_behind", left, f"under {rows.tier}:*")


@dataclass
class _Stream:
    """Something that happens ``per_s`` times a second."""

    per_s: int
    act: Callable[[], None]
    done: int = 0

    def advance(self, passed_s: float) -> None:
        """Do what is due by now, at most a tenth of a second's worth, so that others get theirs."""
        due = min(int(passed_s * self.per_s), int(LASTS_S * self.per_s))
        for _ in range(min(due - self.done, max(1, self.per_s // 10))):
            self.done += 1
            self.act()


def _drive(env: Env, streams: list[_Stream], look: Callable[[], None]) -> float:
    """Let the streams run side by side. Return how long it took, in seconds."""
    start_s = env.clock.monotonic()
    while (passed_s := env.clock.monotonic() - start_s) < LASTS_S:
        for stream in streams:
            stream.advance(passed_s)
        look()
        env.sleep(_PAUSE_S)
    for stream in streams:
        stream.advance(passed_s)
    return passed_s


class _Tasks:
    """Tasks under way, and what came of them."""

    def __init__(self, env: Env, tasks: Tasks) -> None:
        self._env = env
        self._tasks = tasks
        self._sent_s: dict[str, float] = {}
        self._open: dict[str, float] = {}
        self._took: list[float] = []
        self._refused = ""
        self._refusals = 0
        self._failed = 0
        self._last_s = 0.0

    def send(self) -> None:
        """Send one."""
        start_s = self._env.clock.monotonic()
        try:
            task_id = self._tasks.send()
        except Exception as error:  # noqa: BLE001 - whatever a broker raises is one error of the load
            self._refusals += 1
            self._refused = f"{type(error).__name__}: {error}"
            return
        self._sent_s[task_id] = self._open[task_id] = start_s

    def look(self) -> None:
        """Note what ended."""
        if not self._open:
            return
        ended = self._tasks.finished(list(self._open))
        now_s = self._env.clock.monotonic()
        for task_id, succeeded in ended.items():
            self._took.append(now_s - self._open.pop(task_id))
            self._failed += not succeeded
            self._last_s = now_s

    def drain(self) -> None:
        """Wait for what is under way, for a bounded time."""
        until_s = self._env.clock.monotonic() + DRAINED_WITHIN_S
        while self._open and self._env.clock.monotonic() < until_s:
            self.look()
            self._env.sleep(_PAUSE_S)

    def forget(self) -> None:
        """Remove the results."""
        self._tasks.forget(list(self._sent_s))

    def figures(self) -> Iterator[Figure]:
        """Return what was seen."""
        sent, done = len(self._sent_s), len(self._took)
        yield fact("load.tasks.sent", sent, "tasks", f"{TASKS_PER_S} a second")
        lost = f"not back within {DRAINED_WITHIN_S:g} s after the last was sent"
        yield judge("load.tasks.lost", len(self._open), lost if self._open else "")
        yield judge("load.tasks.errors", self._failed + self._refusals, self._refused)
        span_s = self._last_s - min(self._sent_s.values()) if done else 0.0
        per_s = done / span_s if span_s > 0 else None
        yield fact("load.tasks.per_s", per_s, "tasks/s")
        kept_up = None if per_s is None else per_s / TASKS_PER_S
        yield judge("load.tasks.kept_up_ratio", kept_up, f"of {TASKS_PER_S} tasks a second")
        yield fact("load.tasks.latency_p50_s", timing.quantile(self._took, 0.5), "s")
        latency = "from sending to the result seen, some 5 ms of looking included"
        yield judge("load.tasks.latency_p95_s", timing.quantile(self._took, 0.95), latency)
        yield fact("load.tasks.latency_max_s", max(self._took, default=None), "s")


def _no_tasks() -> Iterator[Figure]:
    for name in ("lost", "errors", "kept_up_ratio", "latency_p95_s"):
        yield unmeasured(f"load.tasks.{name}", "nobody here can send tasks")


class _Rows:
    """Rows of a host of its own, in a tier of its own: no page, rule or summary sees them."""

    tier = keys.VALIDATION_SERIES

    def __init__(self, env: Env) -> None:
        self._env = env
        self._host = f"load-{env.run}"
        self._store = RedisStore(
            env.redis_url, interval_s=1.0, retention_s=_KEPT_S, client=env.redis, tier=self.tier
        )
        self._names = [f"load.series.{place:03}" for place in range(SERIES)]
        self._first = tick_at(env.clock.now(), 1.0) - int(LASTS_S * ROWS_PER_S)
        self._took: list[float] = []
        self._said = ""

    def append(self) -> None:
        """Store the next row."""
        number = len(self._took)
        values = dict(zip(self._names, self._values(number), strict=True))
        self._took += timing.repeat(lambda: self._keep(number, values), 1, budget_s=0.0)

    def figures(self) -> Iterator[Figure]:
        """Read everything back and compare."""
        stored = len(self._took)
        window = self._store.window(self._host, self._first, self._first + stored)
        table = np.array([self._values(number) for number in range(stored)])
        whole = window.values.shape == table.shape
        same = int((window.values == table).all(axis=1).sum()) if whole else len(window.times_s)
        note = f"{same} of {stored} rows of {SERIES} series read back the same"
        yield judge("load.rows.lost", stored - same, note + self._said)
        yield fact("load.rows.append_p50_s", timing.quantile(self._took, 0.5), "s")
        yield judge("load.rows.append_p95_s", timing.quantile(self._took, 0.95))

    def remove(self) -> int:
        """Forget the host. Return how many keys are there after it."""
        self._store.expire(self._host, self._env.clock.now() + _KEPT_S + 7200)
        self._env.redis.srem(keys.series_hosts(self.tier), self._host)
        mine = keys.chunks(self._host, self.tier).removesuffix("chunks") + "*"
        return sum(1 for _ in self._env.redis.scan_iter(match=mine, count=1000))

    def _keep(self, number: int, values: dict[str, float]) -> None:
        try:
            self._store.append(self._host, self._first + number, values)
        except redis.RedisError as error:  # read back, it will be found missing
            self._said = f"; {type(error).__name__}: {error}"

    @staticmethod
    def _values(number: int) -> list[float]:
        return [number + place / 1000 for place in range(SERIES)]


@dataclass
class _Frames:
    """Heartbeats to the real supervisor's socket, in the name of a bot that it does not run.

    It takes and decodes them like any other and counts them as refused, which tells how many came.
    """

    env: Env
    sent: int = 0
    full: int = 0
    why: str = ""
    _before: int = 0
    _socket: socket.socket | None = field(default=None, repr=False)

    def open(self) -> bool:
        """Connect. False: there is no supervisor; ``why`` says more."""
        try:
            self._before = self._refused()
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.connect(str(self.env.settings.run_dir() / "telemetry.sock"))
        except (SupervisorUnavailable, OSError) as error:
            self.why = str(error)
            return False
        return True

    def send(self) -> None:
        """Send one; wait for room in the supervisor's queue as a bot's sending thread does."""
        assert self._socket is not None
        numbers: dict[str, Any] = {f"counter_{place}": float(self.sent) for place in range(20)}
        frame = frames.Frame(_BOT, 0, self.env.clock.now(), ready=True, counters=numbers)
        self.sent += 1
        for _ in range(bot.TRIES):
            try:
                self._socket.send(frames.encode(frame))
            except BlockingIOError:
                select.select((), (self._socket,), (), bot.ROOM_WITHIN_S)
            except OSError:
                break
            else:
                return
        self.full += 1

    def close(self) -> None:
        """Close the socket."""
        if self._socket:
            self._socket.close()

    def figures(self) -> Iterator[Figure]:
        """Ask the supervisor how many it took."""
        name = "load.frames.lost_ratio"
        if not self.sent:
            yield unmeasured(name, self.why)
            return
        came = 0
        with contextlib.suppress(SupervisorUnavailable):
            came = self._arrived()
        note = f"{min(came, self.sent)} of {self.sent} came"
        note += f"; {self.full} found the socket full" if self.full else ""
        yield judge(name, max(0, self.sent - came) / self.sent, note)

    def _arrived(self) -> int:
        """Return how many came, the last of them given a second to be read."""
        until_s = self.env.clock.monotonic() + 1.0
        while (came := self._refused() - self._before) < self.sent - self.full:
            if self.env.clock.monotonic() > until_s:
                break
            self.env.sleep(_PAUSE_S)
        return came

    def _refused(self) -> int:
        return int(self.env.snapshot()["refused_frames"])
