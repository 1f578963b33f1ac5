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
supervisor. What is running is held by a pidfd, so that no signal can reach a stranger who was given
the same pid; whether it was started here or adopted from a supervisor that died makes no difference
afterwards, but that an older kernel does not say how an adopted one ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from outrider.supervisor import exits, family, registry, restart
from outrider.supervisor import spec as specs

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from outrider.supervisor.family import Family
    from outrider.supervisor.launch import Launcher
    from outrider.supervisor.logs import Pipes
    from outrider.supervisor.registry import Record
    from outrider.supervisor.spec import ProcessSpec

State = Literal["stopped", "starting", "ready", "stopping", "backoff", "failed"]
ALIVE_AFTER_S = 1.0
# A probe is asked again soon at first, as most are ready soon, and seldom later.
PROBE_FIRST_S, PROBE_GROWTH, PROBE_MOST_S = 0.01, 1.5, 0.5


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
    how: str = ""
    foreign: bool = False


class House(Protocol):
    """What a process needs of the supervisor that it lives under."""

    launcher: Launcher
    pipes: Pipes
    family: Family

    def told(self, name: str, what: str, detail: str) -> None:
        """Hear of a change of state."""
        ...

    def crashed(self, process: Supervised, end: End) -> None:
        """Hear of an end that was not asked for."""
        ...

    def begun(self, process: Supervised) -> None:
        """Hear that a process runs, started or adopted."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One process from its start, or its adoption, to its end. ``born`` is the kernel's word."""

    pid: int
    pidfd: int
    born: int
    how: str
    began_s: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended: ``code`` is negative for a signal, and None when it can't be known."""

    pid: int | None
    code: int | None
    words: str
    lived_s: float


class Supervised:
    """Starts one process, watches it, and starts it again as its policy says.

    Lives in one event loop.
    """

    def __init__(self, spec: ProcessSpec, house: House) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self.since_s = time.time()
        self.reason = ""
        self.restarts = 0
        self.crashes = 0
        self.start_s: float | None = None
        self.run: Run | None = None
        self.changed = asyncio.Event()
        self._house = house
        self._digest = specs.digest(spec)
        self._killed_because = ""
        # One stop at a time: of two, the second would end what the first has started again.
        self._stopping = asyncio.Lock()
        self._start_again = False
        self._in_a_row = 0
        self._restarts_s: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._launching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self.run.pid if self.run else None

    def status(self) -> Status:
        """Return what is known, as plain data."""
        return Status(
            self.spec.name, self.spec.bot, self.spec.kind, self.state, self.pid, self.since_s,
            self.restarts, self.crashes, self.reason, self.start_s,
            self.run.how if self.run else "",
        )  # fmt: skip

    def start(self) -> None:
        """Start it unless it runs, one that stops when it has. A failed one gets a clean record."""
        if self.state in ("starting", "ready") or self._launching:
            return
        if self.state == "stopping":
            self._start_again = True
            return
        if self.state == "failed":
            self._restarts_s.clear()
            self._in_a_row = 0
        self._cancel_timer()
        self._launch_soon()

    async def launched(self) -> None:
        """Wait until a start that was asked for has been made, or was refused by the system."""
        if self._launching:
            await asyncio.wait({self._launching})

    async def stop(self, reason: str = "stopped on request") -> None:
        """End it: its stop signal, the grace period, then SIGKILL for its whole tree."""
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
        if self._launching:  # it has started something, or will start nothing
            self._launching.cancel()
            await asyncio.wait({self._launching})
            self._launching = None
        self._cancel_timer()
        if self.run is None:
            self._enter("stopped", reason)
            return
        self._enter("stopping", reason)
        await self._end(self.run)
        self._enter("stopped", reason)

    def mark_ready(self) -> None:
        """Note that it does its work."""
        if self.state == "starting" and self.run:
            self.start_s = time.monotonic() - self.run.began_s
            self._enter("ready", self.run.why)

    def limit_memory(self, limit_bytes: int | None) -> None:
        """Change its memory limit from now on."""
        self.spec = replace(self.spec, memory_limit_bytes=limit_bytes)

    def kill(self, reason: str) -> None:
        """End it at once; it counts as a crash and is started again by its policy."""
        if self.run:
            self._killed_because = reason
            self._house.family.end_tree(self.run.pid, self.spec.name)

    def adopt(self, record: Record) -> bool:
        """Go on where a supervisor that died left off. Tell whether the process still runs."""
        self.restarts, self.crashes = record.restarts, record.crashes
        self._restarts_s = [at_s - time.time() + time.monotonic() for at_s in record.restarted_s]
        self._in_a_row, self.start_s = record.in_a_row, record.start_s
        if record.digest == self._digest:
            self.limit_memory(record.memory_limit_bytes)
        pidfd = registry.held(record)
        if pidfd is None or record.pid is None:
            if record.state in ("stopped", "failed"):
                self._enter(record.state, record.reason)  # type: ignore[arg-type]
            return False
        began_s = record.began_s - time.time() + time.monotonic()
        self._digest, fresh = record.digest, self._digest
        self._house.family.adopted.add(record.pid)
        self._begin(Run(record.pid, pidfd, record.born, f"adopted ({record.how})", began_s))
        self.state = "ready" if record.state == "ready" else "starting"
        self.reason, self.since_s = record.reason, record.since_s
        older = record.digest != fresh
        self._house.told(
            self.spec.name, "adopted",
            f"pid {record.pid}"
            + ("; its settings changed since its start: restart it to apply them" * older),
        )  # fmt: skip
        return True

    def record(self) -> Record:
        """Return what the supervisor after us must know."""
        to_wall_s = time.time() - time.monotonic()
        run = self.run
        return registry.Record(
            name=self.spec.name, bot=self.spec.bot, kind=self.spec.kind,
            state=self.state, reason=self.reason,
            pid=run.pid if run else None, born=run.born if run else 0,
            began_s=run.began_s + to_wall_s if run else 0.0,
            how=run.how.removeprefix("adopted (").removesuffix(")") if run else "",
            since_s=self.since_s, start_s=self.start_s,
            restarts=self.restarts, crashes=self.crashes, in_a_row=self._in_a_row,
            restarted_s=[at_s + to_wall_s for at_s in self._restarts_s],
            digest=self._digest, memory_limit_bytes=self.spec.memory_limit_bytes,
        )  # fmt: skip

    def let_go(self) -> None:
        """Forget it without ending it; for a supervisor that is closed."""
        for task in self._tasks:
            task.cancel()
        self._cancel_timer()

    def _launch_soon(self) -> None:
        self._timer = None
        self._launching = self._soon(self._launch())

    async def _launch(self) -> None:
        self._killed_because, self._start_again = "", False
        name, house = self.spec.name, self._house
        env = {**self.spec.env, family.MARK: house.family.mark(name)}
        began_s = time.monotonic()
        self._enter("starting", self.reason)
        try:
            output = house.pipes.begin(name)
            try:
                launched = await house.launcher.launch(replace(self.spec, env=env), output=output)
            finally:
                os.close(output)
        except OSError as error:
            self._launching = None
            self._after_failed_launch(error)
            return
        self._launching = None
        self._digest = specs.digest(self.spec)
        kin = family.look(launched.pid)
        if launched.why:
            house.told(name, "spawned", launched.why)
        self._begin(
            Run(launched.pid, launched.pidfd, kin.born if kin else 0, launched.how, began_s,
                launched.why)
        )  # fmt: skip

    def _begin(self, run: Run) -> None:
        self.run = run
        self._house.family.take(run.pid, self.spec.name)
        self._ended.clear()
        self._house.begun(self)
        self._soon(self._watch(run))
        self._soon(self._await_ready(run))

    def _after_failed_launch(self, error: OSError) -> None:
        """Treat a start that the system refused (no folder, no pids, no memory) like an exit."""
        where = f" ({error.filename})" if error.filename else ""
        self._follow(End(None, 127, f"can't be started: {error.strerror or error}{where}", 0.0))

    async def _await_ready(self, run: Run) -> None:
        spec, wait_s = self.spec, PROBE_FIRST_S
        left_s = run.began_s + spec.ready_timeout_s - time.monotonic()
        if spec.readiness == "alive":
            await asyncio.sleep(min(ALIVE_AFTER_S, max(0.0, left_s)))
            if self.run is run:
                self.mark_ready()
            return
        said = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                while self.run is run and self.state == "starting":
                    if spec.probe is None or spec.readiness == "sdk":
                        await self.changed.wait()  # its own word comes as an event
                        continue
                    said = await asyncio.to_thread(spec.probe)
                    if not said and self.run is run:
                        self.mark_ready()
                        return
                    await asyncio.sleep(wait_s)
                    wait_s = min(PROBE_MOST_S, wait_s * PROBE_GROWTH)
        if self.run is run and self.state == "starting":
            self.kill(f"not ready within {spec.ready_timeout_s:.0f} s" + (f": {said}" * bool(said)))

    async def _watch(self, run: Run) -> None:
        try:
            code = await exits.ended(run.pidfd)
        finally:
            os.close(run.pidfd)
        self._house.family.end_tree(run.pid, self.spec.name)  # nothing of it stays behind
        self._house.family.forget(run.pid)
        self._house.family.reap()
        self.run = None
        self._ended.set()
        if self.state != "stopping":
            words = self._killed_because or restart.describe(code)
            self._follow(End(run.pid, code, words, time.monotonic() - run.began_s))

    def _follow(self, end: End) -> None:
        now, words = time.monotonic(), end.words
        if end.code != 0:
            self.crashes += 1
            self._house.crashed(self, end)
        if end.lived_s >= restart.SETTLED_S:
            self._in_a_row = 0
        policy = self.spec.restart
        decision = restart.decide(
            policy,
            code=end.code,
            lived_s=end.lived_s,
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
                recent = now - policy.window_s
                self._restarts_s = [at for at in self._restarts_s if at > recent] + [now]
                self.restarts += 1
                self._enter("backoff", words)
                after_s = restart.spread(after_s, policy.jitter, random.random())  # noqa: S311
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(after_s, self._launch_soon)

    async def _end(self, run: Run) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(run.pidfd, self.spec.stop_signal)
        try:
            await asyncio.wait_for(self._ended.wait(), self.spec.grace_s)
        except TimeoutError:
            asked = signal.Signals(self.spec.stop_signal).name
            self._house.told(
                self.spec.name, "killed", f"ignored {asked} for {self.spec.grace_s:.0f} s"
            )
            self._house.family.end_tree(run.pid, self.spec.name)
            await self._ended.wait()

    def _enter(self, state: State, reason: str) -> None:
        self.state, self.reason, self.since_s = state, reason, time.time()
        self._house.told(self.spec.name, state, reason)
        self.changed.set()
        self.changed = asyncio.Event()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _soon(self, what: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task
