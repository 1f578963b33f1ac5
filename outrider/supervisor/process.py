"""One supervised process and its states.

::

    stopped ──start──► starting ──ready──► ready
       ▲                  │ exit             │ exit
       │ stop             ▼                  ▼
       └───── stopping  backoff ──wait──► starting
                          │ too many restarts
                          ▼
                        failed ──start──► starting

A process in ``backoff`` or ``failed`` has no pid. What ended it stays in ``reason`` until it is
ready again. Every process leads its own session: a Ctrl-C at the terminal reaches only the
supervisor, and its whole tree can be ended at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from outrider.supervisor import exits, logs, restart

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outrider.supervisor.launch import Launched, Launcher
    from outrider.supervisor.spec import ProcessSpec

State = Literal["stopped", "starting", "ready", "stopping", "backoff", "failed"]
ALIVE_AFTER_S = 1.0
PROBE_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a process; plain data for the control socket."""

    name: str
    bot: str
    kind: str
    state: State
    pid: int | None
    since_s: float
    restarts: int
    crashes: int
    reason: str
    start_s: float | None


class Supervised:
    """Starts one process, watches it, and starts it again as its policy says.

    Lives in one event loop. ``tell(name, what, detail)`` is called at every change of state.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        logs_dir: Path,
        launcher: Launcher,
        tell: Callable[[str, str, str], None],
    ) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self.since_s = time.time()
        self.reason = ""
        self.restarts = 0
        self.crashes = 0
        self.start_s: float | None = None
        self._logs_dir = logs_dir
        self._launcher = launcher
        self._launching: asyncio.Task[None] | None = None
        self._tell = tell
        self._process: Launched | None = None
        self._killed_because = ""
        # One stop at a time: of two, the second would end what the first has started again.
        self._stopping = asyncio.Lock()
        self._start_again = False
        self._started = 0.0
        self._in_a_row = 0
        self._restarts_s: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self.changed = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process else None

    def status(self) -> Status:
        """Return what is known, as plain data."""
        return Status(
            self.spec.name, self.spec.bot, self.spec.kind, self.state, self.pid, self.since_s,
            self.restarts, self.crashes, self.reason, self.start_s,
        )  # fmt: skip

    def start(self) -> None:
        """Start it unless it runs, one that stops when it has. A failed one gets a clean record."""
        if self.state in ("starting", "ready"):
            return
        if self.state == "stopping":
            self._start_again = True
            return
        if self.state == "failed":
            self._restarts_s.clear()
            self._in_a_row = 0
        self._cancel_timer()
        self._spawn()

    async def stop(self, reason: str = "stopped on request") -> None:
        """End it: SIGTERM, the grace period, then SIGKILL for its whole tree."""
        self._start_again = False  # the last order counts
        async with self._stopping:
            await self._stop(reason)
            if self._start_again:
                self.start()

    async def restart(self, reason: str) -> None:
        """Stop and start it; counted as a restart, not as a crash."""
        async with self._stopping:
            await self._stop(reason)
            self.restarts += 1
            self.start()

    async def _stop(self, reason: str) -> None:
        self._cancel_timer()
        if self._launching:
            self._launching.cancel()  # it has started something, or will start nothing
        process = self._process
        if process is None:
            self._enter("stopped", reason)
            return
        self._enter("stopping", reason)
        await self._end(process)
        self._enter("stopped", reason)

    def mark_ready(self) -> None:
        """Note that it does its work."""
        if self.state == "starting":
            self.start_s = time.monotonic() - self._started
            self._enter("ready", self._process.why if self._process else "")

    def limit_memory(self, limit_bytes: int | None) -> None:
        """Change its memory limit from now on."""
        self.spec = replace(self.spec, memory_limit_bytes=limit_bytes)

    def rotate_log(self) -> None:
        """Rotate its log when it grew too large."""
        logs.rotate(logs.path_of(self._logs_dir, self.spec.name))

    def kill(self, reason: str) -> None:
        """End it at once; it counts as a crash and is started again by its policy."""
        if self._process:
            self._killed_because = reason
            self._signal_tree(self._process.pid, signal.SIGKILL)

    def _spawn(self) -> None:
        self._killed_because, self._start_again = "", False
        self._started = time.monotonic()
        self._enter("starting", self.reason)
        self._launching = asyncio.ensure_future(self._launch())

    async def _launch(self) -> None:
        try:
            output = logs.open_for(self._logs_dir, self.spec.name)
            try:
                process = await self._launcher.launch(self.spec, output=output)
            finally:
                os.close(output)
        except OSError as error:
            self._after_failed_spawn(error)
            return
        self._process = process
        self._ended.clear()
        if process.why:
            self._tell(self.spec.name, "spawned", process.why)
        exits.watch(process.pidfd, lambda code: self._on_exit(process, code))
        self._waiter = asyncio.ensure_future(self._await_ready(process))

    def _after_failed_spawn(self, error: OSError) -> None:
        """Treat a start that the system refused (no folder, no pids) like an exit."""
        named = f" ({error.filename})" if error.filename else ""
        self._follow(127, f"can't be started: {error.strerror}{named}")

    async def _await_ready(self, process: Launched) -> None:
        deadline = time.monotonic() + self.spec.ready_timeout_s
        if self.spec.readiness == "alive":
            await asyncio.sleep(min(ALIVE_AFTER_S, self.spec.ready_timeout_s))
            if self._process is process:
                self.mark_ready()
            return
        while self._process is process and self.state == "starting":
            probe = self.spec.probe
            if probe is not None and await asyncio.to_thread(probe):
                self.mark_ready()
            elif time.monotonic() > deadline:
                self.kill(f"not ready within {self.spec.ready_timeout_s:.0f} s")
                return
            else:
                await asyncio.sleep(PROBE_EVERY_S)

    def _on_exit(self, process: Launched, code: int) -> None:
        self._signal_tree(process.pid, signal.SIGKILL)  # nothing of its tree stays behind
        if self._process is not process:
            return
        self._process = None
        if self._waiter:
            self._waiter.cancel()
        self._ended.set()
        if self.state == "stopping":
            return
        self._follow(code, self._killed_because or restart.describe(code))

    def _follow(self, code: int, words: str) -> None:
        now = time.monotonic()
        lived_s = now - self._started
        if code != 0:
            self.crashes += 1
        if lived_s >= restart.SETTLED_S:
            self._in_a_row = 0
        decision = restart.decide(
            self.spec.restart,
            code=code,
            lived_s=lived_s,
            restarts_s=self._restarts_s,
            in_a_row=self._in_a_row,
            now_s=now,
        )
        match decision:
            case restart.Stay():
                self._enter("stopped", words)
            case restart.GiveUp(reason):
                self._enter("failed", f"{reason}; {words}" if words not in reason else reason)
            case restart.Again(after_s):
                self._in_a_row += 1
                window_s = self.spec.restart.window_s
                self._restarts_s = [at for at in self._restarts_s if at > now - window_s] + [now]
                self.restarts += 1
                self._enter("backoff", words)
                self._timer = asyncio.get_running_loop().call_later(after_s, self._spawn)

    async def _end(self, process: Launched) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), self.spec.grace_s)
        except TimeoutError:
            self._tell(self.spec.name, "killed", f"ignored SIGTERM for {self.spec.grace_s:.0f} s")
            self._signal_tree(process.pid, signal.SIGKILL)
            await self._ended.wait()

    def _enter(self, state: State, reason: str) -> None:
        self.state, self.reason, self.since_s = state, reason, time.time()
        self._tell(self.spec.name, state, reason)
        self.changed.set()
        self.changed = asyncio.Event()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    @staticmethod
    def _signal_tree(pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
