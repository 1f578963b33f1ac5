"""Runs a set of processes: starts them in order, hears what they say, obeys its control socket.

One event loop, no threads of its own. Two sockets lie in the run folder, which only the owner can
enter: ``telemetry.sock`` takes frames from bots, ``control.sock`` takes orders (see ``control``).
If asked to, it takes StatsD datagrams besides (see ``statsd``).
What happens is kept as numbered events, so that a collector can store each once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import time
import uuid
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from outrider import units
from outrider.errors import BadArgument, UnknownBot
from outrider.metrics import frame as frames
from outrider.supervisor import cgroup, control, limits, logs
from outrider.supervisor.process import Supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from outrider.supervisor.spec import ProcessSpec
    from outrider.supervisor.statsd import Listener

KEPT_EVENTS = 500
HOUSEKEEPING_S = 5.0
_DRAINED_AT_ONCE = 256
_MOST_INSTANCES = 1000
# Less than any Python needs: a limit below it would restart a bot for ever.
_LEAST_LIMIT_BYTES = 1 << 20
# A kernel queues ten datagrams a socket: after a wake that took nearly as many, more are waiting.
BUSY_FROM = 8
REST_S = 0.25


class Supervisor:
    """Supervises processes until :meth:`stop`; ``scale_to(bot, count)`` builds specs to scale."""

    def __init__(
        self,
        *,
        run_dir: Path,
        logs_dir: Path,
        scale_to: Callable[[str, int], list[ProcessSpec]] | None = None,
        statsd: Listener | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.logs_dir = logs_dir
        self.processes: dict[str, Supervised] = {}
        self.frames: dict[str, frames.Frame] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self.refused_frames = 0
        self.held: dict[str, dict[str, str]] = {}
        self._boot = uuid.uuid4().hex[:12]
        self._sequence = 0
        self._scale_to = scale_to
        self._statsd = statsd
        self._telemetry: socket.socket | None = None
        self._control: asyncio.Server | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._scaling = asyncio.Lock()
        self._unkept: set[str] = set()
        self._limits = limits.Holder(self._tell, cgroup.find())

    @property
    def telemetry_path(self) -> Path:
        """Where bots send their frames."""
        return self.run_dir / "telemetry.sock"

    async def open(self) -> None:
        """Open both sockets.

        Raises:
            BadArgument: another supervisor is at work in this folder, or StatsD's port is taken.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir.chmod(0o700)
        if control.answers(self.run_dir):
            raise BadArgument(
                f"a supervisor is at work in {self.run_dir}; "
                "see `outrider status`, or stop it before you start another."
            )
        if self._statsd:
            self._statsd.open()
        self._telemetry = self._open_telemetry()
        self._listen()
        self._control = await control.serve(self.run_dir, self.handle)
        self._housekeeping = asyncio.ensure_future(self._keep_house())

    def add(self, spec: ProcessSpec) -> Supervised:
        """Take a process into care without starting it."""
        process = Supervised(spec, logs_dir=self.logs_dir, tell=self._tell)
        self.processes[spec.name] = process
        return process

    def start_in_order(self, specs: Iterable[ProcessSpec]) -> None:
        """Start processes, each as soon as those it needs are ready."""
        for spec in specs:
            if spec.autostart:
                process = self.processes[spec.name]
                self._waiting[spec.name] = asyncio.ensure_future(
                    self._start_when_needs_ready(process)
                )

    async def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop processes, all by default; one that others need stops after them."""
        left = {name: self.processes[name] for name in (self.processes if names is None else names)}
        for name in left:
            self._wait_no_more(name)
        while left:
            needed = {need for process in left.values() for need in process.spec.needs}
            wave = [
                process for name, process in left.items() if not {name, process.spec.bot} & needed
            ] or list(left.values())
            await asyncio.gather(*(process.stop("the supervisor stops") for process in wave))
            for process in wave:
                del left[process.spec.name]

    async def close(self) -> None:
        """Close the sockets."""
        for name in self.processes:
            self._limits.release(name)
        if self._housekeeping:
            self._housekeeping.cancel()
        if self._control:
            self._control.close()
        if self._statsd:
            self._statsd.close()
        if self._telemetry:
            asyncio.get_running_loop().remove_reader(self._telemetry)
            self._telemetry.close()
            self._telemetry = None
        for path in (self.telemetry_path, self.run_dir / control.SOCKET):
            path.unlink(missing_ok=True)

    def snapshot(self, since: str = "") -> dict[str, Any]:
        """Return everything known, as plain data; of the events those after ``since``, an id."""
        boot, _, last = since.rpartition("-")
        seen = int(last) if boot == self._boot and last.isdecimal() else 0
        first = len(self.events) - min(self._sequence - seen, len(self.events))
        return {
            "boot": self._boot,
            "at_s": time.time(),
            "processes": [asdict(process.status()) for process in self.processes.values()],
            "frames": {name: msgspec.to_builtins(frame) for name, frame in self.frames.items()},
            "refused_frames": self.refused_frames,
            "statsd": self._statsd.snapshot() if self._statsd else None,
            "events": list(itertools.islice(self.events, first, None)),
        }

    async def handle(self, order: dict[str, Any]) -> Any:
        """Carry out one order of the control socket. Raises an OutriderError to refuse it."""
        what, bot = order.get("do"), str(order.get("bot") or "")
        who, why = str(order.get("who") or "somebody"), str(order.get("why") or "")
        if what == "snapshot":
            return self.snapshot(str(order.get("since") or ""))
        if what == "scale":
            return await self._scale(bot, order.get("instances"), who, why)
        chosen = self._named(bot)
        if what == "diagnose":
            return [self._diagnose(process) for process in chosen]
        if what == "limit":
            return self._limit(chosen, order.get("memory"), who, why)
        if what not in ("start", "stop", "restart"):
            raise BadArgument(
                f"unknown order {what!r}; known: start, stop, restart, scale, limit, diagnose, "
                "snapshot."
            )
        reason = f"{what} by {who}" + (f": {why}" if why else "")
        for process in chosen:
            self._tell(process.spec.name, f"asked to {what}", reason)
        await asyncio.gather(*(self._do(what, process, reason) for process in chosen))
        return [asdict(process.status()) for process in chosen]

    async def _do(self, what: str, process: Supervised, reason: str) -> None:
        self._wait_no_more(process.spec.name)
        match what:
            case "start":
                process.start()
            case "stop":
                await process.stop(reason)
            case _:
                await process.restart(reason)

    async def _scale(self, bot: str, instances: Any, who: str, why: str) -> list[dict[str, Any]]:
        if type(instances) is not int or not 0 <= instances <= _MOST_INSTANCES:
            raise BadArgument(
                f"instances = {instances!r} must be a whole number from 0 to {_MOST_INSTANCES}."
            )
        if self._scale_to is None:
            raise BadArgument("this supervisor was given a fixed set of processes.")
        wanted = {spec.name: spec for spec in self._scale_to(bot, instances)}
        self._tell(bot, "asked to scale", f"to {instances} by {who}" + (f": {why}" if why else ""))
        async with self._scaling:  # of two at once, the last counts
            surplus = [
                process
                for name, process in self.processes.items()
                if process.spec.bot == bot and name not in wanted
            ]
            await asyncio.gather(*(self._do("stop", p, f"scaled down by {who}") for p in surplus))
            for process in surplus:
                del self.processes[process.spec.name]
                self.frames.pop(process.spec.name, None)
                await asyncio.to_thread(self._limits.release, process.spec.name)
            for name, spec in wanted.items():
                if name not in self.processes:
                    self.add(spec)
                self.processes[name].start()
            return [asdict(self.processes[name].status()) for name in wanted]

    def _limit(self, chosen: list[Supervised], memory: Any, who: str, why: str) -> list[Any]:
        try:
            limit_bytes = None if memory is None else units.parse_bytes(memory)
        except ValueError as error:
            raise BadArgument(f"memory: {error}") from None
        if limit_bytes is not None and limit_bytes < _LEAST_LIMIT_BYTES:
            raise BadArgument(f"memory = {memory!r} is less than 1MiB; nothing runs in that.")
        shown = "no limit" if limit_bytes is None else units.show_bytes(limit_bytes)
        for process in chosen:
            process.limit_memory(limit_bytes)
            self._hold_limits(process)
            self._tell(process.spec.name, "memory limit", f"{shown}, by {who}: {why}".rstrip(": "))
        return [
            asdict(process.status()) | {"memory_limit_bytes": limit_bytes} for process in chosen
        ]

    def _diagnose(self, process: Supervised) -> dict[str, Any]:
        name = process.spec.name
        frame = self.frames.get(name)
        said = frame and msgspec.structs.replace(frame, buckets={}, lag={})  # nobody reads those
        return {
            **asdict(process.status()),
            "limits_held_by": self.held.get(name, {}),
            "frame": msgspec.to_builtins(said),
            "log": logs.tail(logs.path_of(self.logs_dir, name), 20),
            "events": [event for event in self.events if event["name"] == name][-10:],
        }

    def _named(self, bot: str) -> list[Supervised]:
        chosen = [
            process
            for name, process in self.processes.items()
            if process.spec.kind == "bot" and bot in (name, process.spec.bot, "all")
        ]
        if not chosen:
            known = sorted({p.spec.bot for p in self.processes.values() if p.spec.kind == "bot"})
            raise UnknownBot(f"no bot {bot!r}; this fleet has: {', '.join(known) or 'none'}.")
        return chosen

    async def _start_when_needs_ready(self, process: Supervised) -> None:
        for needed in process.spec.needs:
            for other in [
                p for p in self.processes.values() if needed in (p.spec.name, p.spec.bot)
            ]:
                while other.state != "ready":
                    await other.changed.wait()
        process.start()

    def _wait_no_more(self, name: str) -> None:
        """Forget that a process waits for others: it was given an order of its own."""
        if waiting := self._waiting.pop(name, None):
            waiting.cancel()

    def _open_telemetry(self) -> socket.socket:
        self.telemetry_path.unlink(missing_ok=True)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind(str(self.telemetry_path))
        os.chmod(self.telemetry_path, 0o600)  # noqa: PTH101 - a socket, not a file
        return opened

    def _listen(self) -> None:
        if self._telemetry is not None:
            asyncio.get_running_loop().add_reader(self._telemetry, self._drain)

    def _drain(self) -> None:
        """Take what bots sent, a bounded number at once, then rest if it was little.

        Waking for every frame would cost more than the frames, and bots wait for room. There is no
        rest while a process starts, since its frame says that it is ready.
        """
        assert self._telemetry is not None
        for taken in range(_DRAINED_AT_ONCE):
            try:
                message = self._telemetry.recv(frames.MOST_BYTES)
            except BlockingIOError:
                starting = any(process.state == "starting" for process in self.processes.values())
                if taken < BUSY_FROM and not starting:
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(self._telemetry)
                    loop.call_later(REST_S, self._listen)
                return
            try:
                frame = frames.decode(message)
                process = self.processes[frame.bot]
            except (ValueError, KeyError):  # nonsense, or nobody of ours
                self.refused_frames += 1
                continue
            if frame.pid != process.pid:  # a child of it, or the one before
                self.refused_frames += 1
                continue
            if not _is_late(frame, self.frames.get(frame.bot)):
                self.frames[frame.bot] = frame
            if frame.ready and process.spec.readiness == "sdk":
                process.mark_ready()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await asyncio.gather(*(self._look_after(p) for p in list(self.processes.values())))

    async def _look_after(self, process: Supervised) -> None:
        name, limit = process.spec.name, process.spec.memory_limit_bytes
        try:
            process.rotate_log()
            self._unkept.discard(name)
        except OSError as error:  # a full disk must not end the watch over memory; told once
            if name not in self._unkept:
                self._tell(name, "log not rotated", f"{error}")
            self._unkept.add(name)
        if limit and process.pid and process.state == "ready":
            with contextlib.suppress(psutil.Error):
                used = psutil.Process(process.pid).memory_info().rss
                if used > limit:
                    await process.restart(
                        f"used {units.show_bytes(used)}, limit {units.show_bytes(limit)}"
                    )

    def _hold_limits(self, process: Supervised) -> None:
        spec, pid = process.spec, process.pid
        if pid is not None:
            wanted = limits.Limits(spec.memory_limit_bytes, spec.cpu_limit, spec.priority)
            self.held[spec.name] = self._limits.hold(spec.name, pid, wanted)

    def _tell(self, name: str, what: str, detail: str) -> None:
        if what == "starting":
            self._hold_limits(self.processes[name])  # with its first instruction, or nearly so
        elif what in ("stopped", "backoff", "failed"):
            self._limits.clear(name)
        self._sequence += 1
        self.events.append(
            {
                "id": f"{self._boot}-{self._sequence}",
                "at_s": time.time(),
                "name": name,
                "what": what,
                "detail": detail,
            }
        )


def _is_late(frame: frames.Frame, kept: frames.Frame | None) -> bool:
    """Tell whether a frame waited in its bot's ring while a newer one was taken."""
    return (
        kept is not None
        and (kept.pid, kept.since_s) == (frame.pid, frame.since_s)
        and frame.number < kept.number
    )
