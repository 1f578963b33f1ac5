"""Keeps a set of processes up, and answers for them.

::

    bots ──frames──► telemetry sockets ─┐
    bots ──output──► log keeper         ├──► Supervisor ──► events, frames, crash reports
    bots ◄─messages─► channel hub ──────┤
    operators, tasks ──► control.sock ──┘        │
                                     starts, watches, stops, adopts

One event loop, no polling for ends: exits come as events (see ``exits``), readiness as frames.
A supervisor that was killed leaves its processes running, their logs written, and its registry; the
next one in the same folder adopts them: same pids, same sockets, same counts. One that is closed
leaves nothing.
What happens is kept as numbered events, so that a collector can store each once.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import time
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import msgspec

from outrider.errors import BadArgument, OutriderError
from outrider.supervisor import cgroup, control, crashes, exits, family, limits, logs, registry
from outrider.supervisor.care import Care
from outrider.supervisor.channel.hub import Hub
from outrider.supervisor.discovery import Observed
from outrider.supervisor.launch import Launcher, SpawnLauncher
from outrider.supervisor.orders import Orders
from outrider.supervisor.process import End, Supervised
from outrider.supervisor.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from outrider.metrics import frame as frames
    from outrider.supervisor.registry import Record
    from outrider.supervisor.spec import ProcessSpec
    from outrider.supervisor.statsd import Listener

CHANNEL = "channel.sock"
KEPT_EVENTS = 500
LOCK = "supervisor.lock"
TELEMETRY = "OUTRIDER_TELEMETRY"
# What a process wrote last may still be on its way to its file.
_DRAINED_WITHIN_S = 1.0
_KEEPER = "log keeper"


class Supervisor:
    """Supervises processes until :meth:`stop`; ``scale_to(bot, count)`` builds specs to scale."""

    def __init__(
        self,
        *,
        run_dir: Path,
        logs_dir: Path,
        scale_to: Callable[[str, int], list[ProcessSpec]] | None = None,
        statsd: Listener | None = None,
        launcher: Launcher | None = None,
        pipes: logs.Pipes | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.logs_dir = logs_dir
        self.launcher: Launcher = launcher or SpawnLauncher()
        self.pipes = pipes or logs.Pipes(run_dir, logs_dir)
        self.scale_to = scale_to
        self.processes: dict[str, Supervised] = {}
        self.foreign: dict[str, Observed] = {}
        self.frames: dict[str, frames.Frame] = {}
        self.heard_s: dict[str, float] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self.family = family.Family(run_dir)
        self.limits = limits.Holder(self.told, cgroup.find())
        self.held: dict[str, dict[str, str]] = {}
        self.care = Care(self)
        self.hub = Hub(run_dir / CHANNEL, who=self._who, known=self._is_declared, tell=self.told)
        self._orders = Orders(self)
        self._telemetry = Telemetry(
            run_dir, take=self._take, is_starting=self._is_starting, tell=self.told
        )
        self._boot = uuid.uuid4().hex[:12]
        self._sequence = 0
        self._statsd = statsd
        self._control: asyncio.Server | None = None
        self._lock = -1
        self._left: dict[str, Record] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._unsaved = False

    @property
    def telemetry_path(self) -> Path:
        """Where those send their frames that have no socket of their own."""
        return self._telemetry.path

    @property
    def channel_path(self) -> Path:
        """Where bots find the channel."""
        return self.hub.path

    @property
    def refused_frames(self) -> int:
        """How many datagrams were nonsense, or of nobody of ours."""
        return self._telemetry.refused

    @property
    def left(self) -> dict[str, Record]:
        """What the supervisor before left behind, by name, and nobody took yet."""
        return self._left

    async def open(self) -> None:
        """Open the sockets, start the log keeper, and find what an earlier supervisor left.

        Raises:
            BadArgument: another supervisor is at work in this folder, or StatsD's port is taken.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir.chmod(0o700)
        self._lock = _locked(self.run_dir)
        family.become_subreaper()
        try:
            if self._statsd:
                self._statsd.open()
            self._telemetry.open()
            self.hub.open()
            self._left = registry.load(self.run_dir)
            self._keeping = self._soon(self._keep_logs(self.pipes.open()))
            self._control = await control.serve(
                self.run_dir, self._orders.handle, refused=self._orders.refused
            )
        except BaseException:
            os.close(self._lock)
            raise
        self._soon(self.care.keep_on())

    def declare(self, specs: Iterable[ProcessSpec]) -> None:
        """Take processes into care, and look for those that somebody else runs."""
        for spec in specs:
            if spec.foreign:
                self.foreign[spec.name] = Observed(spec, spec.foreign, self.told)
                self.foreign[spec.name].look()
            else:
                self.add(spec)

    def add(self, spec: ProcessSpec) -> Supervised:
        """Take a process into care without starting it; adopt it when it runs already."""
        if TELEMETRY in spec.env:
            own = str(self._telemetry.add(spec.name))
            spec = replace(spec, env={**spec.env, TELEMETRY: own})
        process = self.processes[spec.name] = Supervised(spec, self)
        record = self._left.pop(spec.name, None)
        if record is None:
            return process
        if not process.adopt(record) and record.state not in ("stopped", "failed"):
            process.crashes += 1
            process.restarts += 1
            self.told(
                spec.name, "ended meanwhile",
                "while no supervisor ran; how is not known. It is started again",
            )  # fmt: skip
        return process

    def remove(self, name: str) -> None:
        """Forget a process that was stopped."""
        del self.processes[name]
        self.frames.pop(name, None)
        self.heard_s.pop(name, None)
        self.care.forget(name)
        self._telemetry.drop(name)
        self.pipes.drop(name)
        self.save_soon()

    def start_in_order(self, specs: Iterable[ProcessSpec]) -> None:
        """Start processes, each as soon as those it needs are ready.

        One that was stopped or failed under the supervisor before stays so.
        """
        for spec in specs:
            process = self.processes.get(spec.name)
            if process and spec.autostart and process.reason == "":
                self._waiting[spec.name] = self._soon(self._start_when_needs_ready(process))

    async def settle_left(self) -> None:
        """Deal with what is left of an earlier supervisor once all that is declared was added.

        Instances that were scaled up are adopted; what is declared no more is ended; so is every
        descendant of a bot that does not run any more.
        """
        for name, record in list(self._left.items()):
            if record.kind != "bot" or self.scale_to is None or name in self.processes:
                continue
            number = name.removeprefix(f"{record.bot}-")
            with suppress(OutriderError):
                count = int(number) if number.isdecimal() else 1
                for spec in self.scale_to(record.bot, count):
                    if spec.name == name:
                        self.add(spec)
        for name, record in self._left.items():
            pidfd = registry.held(record)
            if pidfd is not None and record.pid is not None:
                os.close(pidfd)
                self.family.adopted.add(record.pid)
                self.family.end_tree(record.pid, name)
                self.told(name, "ended", "it ran under an earlier supervisor; no settings name it")
        self._left = {}
        running = {name for name, process in self.processes.items() if process.pid}
        for pid, name in self.family.end_marked(running):
            self.told(name, "ended", f"process {pid} was left behind by it")

    async def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop processes, all by default; one that others need stops after them."""
        left = {name: self.processes[name] for name in (self.processes if names is None else names)}
        for name in left:
            self.wait_no_more(name)
        while left:
            needed = {need for process in left.values() for need in process.spec.needs}
            wave = [
                process for name, process in left.items() if not {name, process.spec.bot} & needed
            ] or list(left.values())
            await asyncio.gather(*(process.stop("the supervisor stops") for process in wave))
            for process in wave:
                del left[process.spec.name]

    async def close(self) -> None:
        """Close the sockets, and end the log keeper when it has written everything."""
        if self._control:
            self._control.close()
        keeping, self._keeping = self._keeping, None
        if keeping:
            self.pipes.quit()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({keeping}, timeout=2 * _DRAINED_WITHIN_S + 1)
        await self.launcher.close()
        for task in self._tasks:
            task.cancel()
        for process in self.processes.values():
            process.let_go()
        if self._statsd:
            self._statsd.close()
        self.hub.close()
        self._telemetry.close()
        for name in self.processes:
            self.limits.release(name)
        self.pipes.clear()
        self.family.reap()
        (self.run_dir / control.SOCKET).unlink(missing_ok=True)
        registry.clear(self.run_dir)
        (self.run_dir / LOCK).unlink(missing_ok=True)
        os.close(self._lock)

    def snapshot(self, since: str = "") -> dict[str, Any]:
        """Return everything known, as plain data; of the events those after ``since``, an id."""
        boot, _, last = since.rpartition("-")
        seen = int(last) if boot == self._boot and last.isdecimal() else 0
        first = len(self.events) - min(self._sequence - seen, len(self.events))
        return {
            "boot": self._boot,
            "at_s": time.time(),
            "processes": [asdict(process.status()) for process in self.everybody()],
            "frames": {name: msgspec.to_builtins(frame) for name, frame in self.frames.items()},
            "refused_frames": self.refused_frames,
            "statsd": self._statsd.snapshot() if self._statsd else None,
            "channel": self.hub.snapshot(),
            "events": list(itertools.islice(self.events, first, None)),
        }

    def everybody(self) -> list[Supervised | Observed]:
        """Return those that are supervised, and those that are only seen."""
        return [*self.processes.values(), *self.foreign.values()]

    def told(self, name: str, what: str, detail: str, **more: str) -> None:
        """Keep an event; ``more`` holds who asked for it, why, and what came of it."""
        if what in ("stopped", "backoff", "failed"):
            self.limits.clear(name)
        self._sequence += 1
        self.events.append(
            {
                "id": f"{self._boot}-{self._sequence}",
                "at_s": time.time(),
                "name": name,
                "what": what,
                "detail": detail,
                **more,
            }
        )
        self.save_soon()

    def begun(self, process: Supervised) -> None:
        """Hold a process that runs to its limits, with its first instruction or nearly so."""
        self.hold_limits(process)
        self.save_soon()

    def hold_limits(self, process: Supervised) -> None:
        """Apply the limits that a process has now."""
        spec, pid = process.spec, process.pid
        if pid is not None:
            wanted = limits.Limits(spec.memory_limit_bytes, spec.cores, spec.priority)
            self.held[spec.name] = self.limits.hold(spec.name, pid, wanted)

    def crashed(self, process: Supervised, end: End) -> None:
        """Have a report of a crash written, without keeping the restart waiting."""
        path = logs.path_of(self.logs_dir, process.spec.name)
        size = logs.size_of(path)
        # The next process writes to the same log: its lines come after these.
        stop = size + self.pipes.unread(process.spec.name)
        frame = self.frames.get(process.spec.name)
        report = crashes.Report(
            at_s=time.time(), name=process.spec.name, pid=end.pid, code=end.code,
            words=end.words, lived_s=round(end.lived_s, 3), crashes=process.crashes, then="",
            log=[], metrics=crashes.metrics(frame, self.care.measured.get(process.spec.name, {})),
        )  # fmt: skip
        self._soon(self._report(process, report, path, stop))

    def wait_no_more(self, name: str) -> None:
        """Forget that a process waits for others: it was given an order of its own."""
        if waiting := self._waiting.pop(name, None):
            waiting.cancel()

    async def drained(self, name: str) -> None:
        """Wait, for a second at most, until what a process wrote is in its file."""
        for _ in range(100):
            await asyncio.sleep(_DRAINED_WITHIN_S / 100)
            if not self.pipes.unread(name):
                return

    async def _report(
        self, process: Supervised, report: crashes.Report, path: Path, stop: int
    ) -> None:
        deadline = time.monotonic() + _DRAINED_WITHIN_S
        while time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            size = logs.size_of(path)
            if size >= stop or size < stop - (1 << 20):  # written, or turned to a new file
                break
        report.log = crashes.shortened(logs.tail(path, crashes.LINES, end=stop))
        report.then = process.state
        try:
            crashes.add(self.logs_dir, report)
        except OSError as error:
            self.told(report.name, "crash report not kept", str(error))
        self.told(
            report.name, "crash report", crashes.summary(msgspec.to_builtins(report)),
            report=msgspec.json.encode(report).decode(),
        )  # fmt: skip

    async def _start_when_needs_ready(self, process: Supervised) -> None:
        for needed in process.spec.needs:
            for other in [p for p in self.everybody() if needed in (p.spec.name, p.spec.bot)]:
                while other.state != "ready":
                    process.reason = f"waits for {other.spec.name}, which is {other.state}"
                    await other.changed.wait()
        process.reason = ""
        process.start()

    async def _keep_logs(self, keeper: tuple[int, int]) -> None:
        """See that a log keeper is at work for as long as we are."""
        while True:
            pid, pidfd = keeper
            self.family.take(pid, _KEEPER)
            try:
                await exits.ended(pidfd)
            finally:
                os.close(pidfd)
                self.family.mains.pop(pid, None)
            if self._keeping is None:
                return
            self.told(_KEEPER, "ended", "bots that write wait for the next one, which starts now")
            await asyncio.sleep(0.1)
            keeper = self.pipes.open()

    def _who(self, pid: int) -> tuple[str, str] | None:
        """Return instance and bot of a process that is supervised here."""
        return next(
            (
                (process.spec.name, process.spec.bot)
                for process in self.processes.values()
                if process.pid == pid and process.spec.kind == "bot"
            ),
            None,
        )

    def _is_declared(self, bot: str, instance: str) -> bool:
        """Tell whether there is such a bot, or such an instance of one, be it down."""
        return any(
            process.spec.kind == "bot"
            and (process.spec.bot == bot or process.spec.name == instance)
            for process in self.processes.values()
        )

    def _is_starting(self) -> bool:
        return any(process.state == "starting" for process in self.processes.values())

    def _take(self, frame: frames.Frame) -> bool:
        process = self.processes.get(frame.bot)
        if process is None or frame.pid != process.pid:  # nobody of ours, a child, the one before
            return False
        if not _is_late(frame, self.frames.get(frame.bot)):
            self.frames[frame.bot] = frame
            self.heard_s[frame.bot] = time.monotonic()
        if frame.ready and process.spec.readiness == "sdk":
            process.mark_ready()
        return True

    def save_soon(self) -> None:
        """Have the registry written once for all that changes in this turn of the loop."""
        if not self._unsaved and self._lock >= 0:
            self._unsaved = True
            with suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(self._save)

    def _save(self) -> None:
        self._unsaved = False
        if self._keeping is None:
            return
        records = [process.record() for process in self.processes.values()]
        try:
            registry.save(self.run_dir, [*records, *self._left.values()])
        except OSError as error:  # a full disk: the next change tries again
            self.events.append({
                "id": f"{self._boot}-{self._sequence}", "at_s": time.time(), "name": "-",
                "what": "registry not written", "detail": str(error),
            })  # fmt: skip

    def _soon(self, what: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _locked(run_dir: Path) -> int:
    """Return the lock that a supervisor holds for as long as it lives. Raises BadArgument."""
    path = run_dir / LOCK
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise BadArgument(
                f"a supervisor is at work in {run_dir}; "
                "see `outrider status`, or stop it before you start another."
            ) from None
        with suppress(OSError):
            if os.fstat(lock).st_ino == path.stat().st_ino:
                return lock
        os.close(lock)  # whoever held it before took it away meanwhile


def _is_late(frame: frames.Frame, kept: frames.Frame | None) -> bool:
    """Tell whether a frame waited in its bot's ring while a newer one was taken."""
    return (
        kept is not None
        and (kept.pid, kept.since_s) == (frame.pid, frame.since_s)
        and frame.number < kept.number
    )
