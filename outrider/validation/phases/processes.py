"""Whether the fleet's processes are well, and how quickly one comes back that was killed.

The drill is on a process of our own under a supervisor of its own, in a folder of its own: the
code is the one that runs the bots, the bots are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from outrider.errors import OutriderError, SupervisorUnavailable
from outrider.supervisor import logs
from outrider.supervisor.spec import ProcessSpec, RestartPolicy
from outrider.supervisor.supervisor import Supervisor
from outrider.validation import probe
from outrider.validation.figure import Figure, fact
from outrider.validation.targets import judge, unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.supervisor.process import Supervised
    from outrider.validation.env import Env

KILLS = 3
# A start that takes longer than this is not slow, it does not work.
READY_WITHIN_S = 15.0
GRACE_S = 5.0
_NAME = "probe"


def run(env: Env) -> Iterator[Figure]:
    """Look at the supervised processes, then start, kill and stop one of our own."""
    yield from _supervised(env)
    with tempfile.TemporaryDirectory(prefix="outrider-") as folder:
        seen = asyncio.run(_drill(Path(folder)))
    yield from _told(seen)


def _supervised(env: Env) -> Iterator[Figure]:
    try:
        listed = env.snapshot()["processes"]
    except SupervisorUnavailable as away:
        yield unmeasured("processes.ready_ratio", str(away))
        yield unmeasured("processes.failed", str(away))
        return
    wanted = [entry for entry in listed if entry["state"] not in ("stopped", "stopping")]
    late = [entry["name"] for entry in wanted if entry["state"] != "ready"]
    failed = [entry["name"] for entry in listed if entry["state"] == "failed"]
    stopped = len(listed) - len(wanted)
    bots = sum(entry["kind"] == "bot" for entry in listed)
    note = f"{len(wanted) - len(late)} of {len(wanted)}"
    note += f"; not ready: {', '.join(late)}" if late else ""
    note += f"; {stopped} stopped" if stopped else ""
    ratio = 1 - len(late) / len(wanted) if wanted else None
    yield judge("processes.ready_ratio", ratio, note)
    yield judge("processes.failed", len(failed), ", ".join(failed))
    yield fact("processes.bots", bots, "processes")
    restarts = sum(entry["restarts"] for entry in listed)
    crashes = sum(entry["crashes"] for entry in listed)
    yield fact("processes.restarts", restarts, "restarts", "since the supervisor began")
    yield fact("processes.crashes", crashes, "crashes", "since the supervisor began")


@dataclass
class _Drill:
    """What was seen. Times are seconds."""

    start_s: float = 0.0
    noticed_s: list[float] = field(default_factory=list)
    again_s: list[float] = field(default_factory=list)
    stop_s: float = 0.0
    lines: int = 0
    left: int = 0


async def _drill(folder: Path) -> _Drill:
    """Start a process, kill it a few times, stop it.

    Raises:
        OutriderError: it does not become ready; with its last words.
    """
    supervisor = Supervisor(run_dir=folder / "run", logs_dir=folder / "logs")
    await supervisor.open()
    seen, pids = _Drill(), []
    process = supervisor.add(_spec(supervisor, folder))
    try:
        start = time.monotonic()
        process.start()
        await _ready(process, folder)
        seen.start_s = time.monotonic() - start
        for _ in range(KILLS):
            pid = process.pid
            assert pid is not None
            pids.append(pid)
            start = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await _until(process, lambda: process.state != "ready", folder)
            seen.noticed_s.append(time.monotonic() - start)
            await _ready(process, folder)
            seen.again_s.append(time.monotonic() - start)
        pids.append(process.pid or 0)
        start = time.monotonic()
        await process.stop()
        seen.stop_s = time.monotonic() - start
        await supervisor.drained(_NAME)
        output = logs.tail(logs.path_of(supervisor.logs_dir, _NAME), 100)
        seen.lines = output.count(probe.ALIVE)
        seen.left = sum(_runs(pid) for pid in pids)
    finally:
        await supervisor.stop()
        await supervisor.close()
    return seen


def _spec(supervisor: Supervisor, folder: Path) -> ProcessSpec:
    return ProcessSpec(
        name=_NAME,
        argv=(
            sys.executable,
            "-m",
            "outrider.supervisor.entry",
            f"{probe.__name__}:{probe.main.__name__}",
        ),
        cwd=str(folder),
        env={"OUTRIDER_BOT": _NAME, "OUTRIDER_TELEMETRY": str(supervisor.telemetry_path)},
        readiness="sdk",
        ready_timeout_s=READY_WITHIN_S,
        grace_s=GRACE_S,
        restart=RestartPolicy(backoff_s=(0.0,), most=KILLS + 1),
    )


async def _ready(process: Supervised, folder: Path) -> None:
    await _until(process, lambda: process.state == "ready", folder)


async def _until(process: Supervised, reached: Callable[[], bool], folder: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_S):
            while not reached():
                await process.changed.wait()
            return
    said = " / ".join(logs.tail(logs.path_of(folder / "logs", _NAME), 3)) or "nothing"
    raise OutriderError(
        f"a process of our own is {process.state} after {READY_WITHIN_S:.0f} s "
        f"({process.reason or 'no reason'}); it said: {said}"
    )


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _told(seen: _Drill) -> Iterator[Figure]:
    counted = f"the slowest of {KILLS} kills"
    yield judge("processes.start_to_ready_s", seen.start_s, "a tiny bot in a folder of its own")
    yield judge("processes.kill_to_noticed_s", max(seen.noticed_s), counted)
    yield judge("processes.kill_to_ready_s", max(seen.again_s), counted)
    yield fact("processes.kill_to_ready.p50_s", statistics.median(seen.again_s), "s")
    yield judge("processes.stop_s", seen.stop_s, "SIGTERM to gone")
    lives = KILLS + 1
    ratio = seen.lines / lives
    yield judge("processes.log_lines_ratio", ratio, f"{seen.lines} of {lives} lines captured")
    yield judge("processes.left_running", seen.left)
