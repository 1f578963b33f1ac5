"""A supervisor of real processes, in an event loop of its own for each test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import psutil

from outrider.supervisor.spec import ProcessSpec, RestartPolicy
from outrider.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from outrider.supervisor.launch import Launcher

    Test = Coroutine[Any, Any, None]
    Run = Callable[[Callable[["Fleet"], Test]], None]

SOON_S = 20.0
PROMPT = RestartPolicy(backoff_s=(0.0,), most=100)


def python(code: str) -> tuple[str, ...]:
    """Return a command that runs a program text, quickly started."""
    return (sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(code))


WAIT = python("import time; time.sleep(600)")
READY = """
import json, os, socket, struct
def ready(pid=None, bot=None):
    # A frame in MessagePack, written out so that no package need be imported.
    name = (bot or os.environ["OUTRIDER_BOT"]).encode()
    frame = (b"\\x84\\xa3bot" + bytes([0xa0 + len(name)]) + name
             + b"\\xa3pid\\xce" + struct.pack(">I", pid or os.getpid())
             + b"\\xa4at_s\\xcb" + struct.pack(">d", 0.0) + b"\\xa5ready\\xc3")
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.sendto(frame, os.environ["OUTRIDER_TELEMETRY"])
"""
SAYS_READY = python(f"{READY}\nready()\nimport time; time.sleep(600)")


class Fleet:
    """A supervisor and what a test does with it."""

    def __init__(self, folder: Path, launcher: Launcher | None = None) -> None:
        self.folder = folder
        self.supervisor = Supervisor(
            run_dir=folder / "run",
            logs_dir=folder / "logs",
            scale_to=self.scaled,
            launcher=launcher,
        )
        self.declared: dict[str, ProcessSpec] = {}

    def spec(self, name: str, argv: tuple[str, ...] = WAIT, **options: Any) -> ProcessSpec:
        env = {"OUTRIDER_BOT": name, "OUTRIDER_TELEMETRY": str(self.supervisor.telemetry_path)}
        usual: dict[str, Any] = {"restart": PROMPT, "bot": name, "grace_s": 5.0, "env": env}
        return ProcessSpec(name, argv, **(usual | options))

    def entry(self, name: str, entry: str, **options: Any) -> ProcessSpec:
        """Return a bot that may be forked, and runs in the fleet's folder."""
        argv = (sys.executable, "-m", "outrider.supervisor.entry", entry)
        usual: dict[str, Any] = {"readiness": "sdk", "cwd": str(self.folder), "entry": entry}
        return self.spec(name, argv, **(usual | options))

    def start(self, *specs: ProcessSpec) -> None:
        for spec in specs:
            self.supervisor.add(spec)
        self.supervisor.start_in_order(specs)

    def scaled(self, bot: str, count: int) -> list[ProcessSpec]:
        from outrider.errors import UnknownBot
        from outrider.settings import instance_names

        if bot not in self.declared:
            raise UnknownBot(f"no bot {bot!r}")
        return [
            self.spec(name, self.declared[bot].argv, bot=bot) for name in instance_names(bot, count)
        ]

    def state(self, name: str) -> str:
        return self.supervisor.processes[name].state

    def reason(self, name: str) -> str:
        return self.supervisor.processes[name].reason

    def pid(self, name: str) -> int:
        pid = self.supervisor.processes[name].pid
        assert pid is not None
        return pid

    def events(self, name: str = "") -> list[tuple[str, str, str]]:
        return [
            (event["name"], event["what"], event["detail"])
            for event in self.supervisor.events
            if name in ("", event["name"])
        ]

    def log(self, name: str) -> str:
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something, at most a while; on failure show what happened."""
        deadline = time.monotonic() + SOON_S
        while not condition():
            assert time.monotonic() < deadline, self.events()
            await asyncio.sleep(0.01)

    async def becomes(self, state: str, *names: str) -> None:
        await self.until(lambda: all(self.state(name) == state for name in names))

    async def ends(self, name: str) -> None:
        """Wait until a process that is not started again has been started and ended."""
        started = (name, "starting", "")
        await self.until(lambda: started in self.events(name) and self.state(name) == "stopped")

    async def order(self, do: str, **fields: Any) -> Any:
        """Give an order over the real socket, as another process would."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "run" / "control.sock")
        with contextlib.closing(writer):
            writer.write(json.dumps({"do": do, **fields}).encode() + b"\n")
            return json.loads(await asyncio.wait_for(reader.readline(), SOON_S))


@contextlib.asynccontextmanager
async def opened(fleet: Fleet) -> AsyncIterator[Fleet]:
    await fleet.supervisor.open()
    try:
        yield fleet
    finally:
        await fleet.supervisor.stop()
        await fleet.supervisor.close()


def gone(pid: int) -> bool:
    """Tell whether a process ended; one that nobody waits for counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
