"""Measures where a bot's start goes, by really starting it: plainly, and from a zygote.

Each start is of the bot itself, with a telemetry socket of its own, and is over when the bot says
that it is ready; then it is stopped. One further start is traced: by Python's own ``importtime``,
and by noting its connects (see ``trace``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.errors import BadArgument
from outrider.metrics import frame
from outrider.supervisor import exits, launch, logs, trace
from outrider.supervisor.spec import environment
from outrider.supervisor.zygote.launcher import LOG, ZygoteLauncher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any, Self

    from outrider.supervisor.spec import ProcessSpec

TELEMETRY = "OUTRIDER_TELEMETRY"
_STOP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the time of the traced start went, in milliseconds; connects may be part of imports."""

    interpreter_ms: float
    imports_ms: float
    connects_ms: float
    warming_ms: float
    ready_ms: float


@dataclass(frozen=True, slots=True)
class Startup:
    """What was measured. Each list holds one number a start, from the request until ready."""

    plain_ms: list[float]
    zygote_ms: list[float]
    boot_ms: float | None
    phases: Phases
    modules: list[tuple[str, float]]  # by their own time in milliseconds, longest first
    why_not: str


async def measure(spec: ProcessSpec, *, runs: int) -> Startup:
    """Start a bot ``2 * runs + 2`` times, one after the other.

    Raises:
        BadArgument: it has no entry, or it ends or stays silent instead of saying that it is ready.
    """
    if spec.entry is None or spec.readiness != "sdk":
        raise BadArgument(f"{spec.name} has no entry that calls bot.ready(); nothing to measure.")
    with tempfile.TemporaryDirectory(prefix="outrider-startup-") as folder, _Ear(folder) as ear:
        spec = replace(spec, env={**spec.env, TELEMETRY: ear.path})
        plain_ms = [(await _timed(_plainly, spec, ear))[0] for _ in range(runs)]
        floors_ms = [await _interpreter_ms() for _ in range(runs)]
        phases, modules = await _traced(spec, ear, statistics.median(floors_ms))
        launcher = ZygoteLauncher(
            launch.SpawnLauncher(), open_log=lambda: logs.open_file(Path(folder), LOG)
        )
        try:
            boot_ms, first = await _timed(launcher.launch, spec, ear)
            zygote_ms: list[float] = []
            for _ in range(runs if first.how == "zygote" else 0):
                await asyncio.sleep(0.2)  # the next spare is made meanwhile, as in a fleet at work
                zygote_ms.append((await _timed(launcher.launch, spec, ear))[0])
        finally:
            await launcher.close()
    return Startup(
        plain_ms, zygote_ms, boot_ms if first.how == "zygote" else None, phases, modules, first.why
    )


class _Ear:
    """A telemetry socket that listens for one process to say that it is ready."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/telemetry.sock"
        self.log = Path(folder) / "bot.log"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def hear(self, pid: int) -> None:
        """Return when a process says that it is ready."""
        loop = asyncio.get_running_loop()
        while True:
            message = await loop.sock_recv(self._socket, frame.MOST_BYTES)
            with contextlib.suppress(ValueError):
                said = frame.decode(message)
                if said.pid == pid and said.ready:
                    return


async def _timed(
    start: Callable[..., Coroutine[Any, Any, launch.Launched]], spec: ProcessSpec, ear: _Ear
) -> tuple[float, launch.Launched]:
    """Start a bot and stop it when it is ready. Return the milliseconds, and how it started."""
    with ear.log.open("wb") as output:
        began = time.perf_counter()
        launched = await start(spec, output=output.fileno())
        async with _stopped_after(launched, spec.grace_s) as ended:
            hearing = asyncio.ensure_future(ear.hear(launched.pid))
            await asyncio.wait(
                (hearing, ended), timeout=spec.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            took_ms = 1e3 * (time.perf_counter() - began)
            if not hearing.done():
                hearing.cancel()
                what = "ended" if ended.done() else f"was silent for {spec.ready_timeout_s:.0f} s"
                said = "\n  ".join(logs.tail(ear.log, 10))
                raise BadArgument(
                    f"{spec.name} {what} before it said that it is ready. It wrote:\n  {said}"
                )
    return took_ms, launched


@contextlib.asynccontextmanager
async def _stopped_after(
    launched: launch.Launched, grace_s: float
) -> AsyncIterator[asyncio.Future[int | None]]:
    ended = asyncio.ensure_future(exits.ended(launched.pidfd))
    try:
        yield ended
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launched.pid, number)
            await asyncio.wait((ended,), timeout=min(grace_s, _STOP_WITHIN_S))
        os.close(launched.pidfd)


async def _plainly(spec: ProcessSpec, *, output: int) -> launch.Launched:
    pid = launch.spawn(spec.argv, environment(spec), cwd=spec.cwd, output=output)
    return launch.Launched(pid, os.pidfd_open(pid), "spawn")


async def _interpreter_ms() -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await process.wait()
    return 1e3 * (time.perf_counter() - began)


async def _traced(
    spec: ProcessSpec, ear: _Ear, interpreter_ms: float
) -> tuple[Phases, list[tuple[str, float]]]:
    notes = ear.log.with_name("trace.jsonl")
    python, *rest = spec.argv
    traced = replace(
        spec,
        argv=(python, "-X", "importtime", *rest),
        env={**spec.env, trace.VARIABLE: str(notes)},
    )
    began_s = time.monotonic()
    ready_ms, _ = await _timed(_plainly, traced, ear)
    found = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    imported_s = next(note["imported_s"] for note in found if "imported_s" in note)
    imported_ms = 1e3 * (imported_s - began_s)
    ready_s = began_s + ready_ms / 1e3
    connects = [
        (note["from_s"], min(note["to_s"], ready_s))
        for note in found
        if imported_s <= note.get("from_s", 0.0) < ready_s
    ]
    connects_ms = 1e3 * union_s(connects)
    phases = Phases(
        interpreter_ms=interpreter_ms,
        imports_ms=max(0.0, imported_ms - interpreter_ms),
        connects_ms=connects_ms,
        warming_ms=max(0.0, ready_ms - imported_ms - connects_ms),
        ready_ms=ready_ms,
    )
    text = ear.log.read_text(encoding="utf-8", errors="replace")
    return phases, trace.import_times_ms(text)


def union_s(spans: list[tuple[float, float]]) -> float:
    """Return the time that is covered by at least one span.

    >>> union_s([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
    4.0
    """
    total_s, until_s = 0.0, float("-inf")
    for from_s, to_s in sorted(spans):
        total_s += max(0.0, to_s - max(from_s, until_s))
        until_s = max(until_s, to_s)
    return total_s
