"""A bot is ready in milliseconds: the claim, with plain starts and other managers beside it.

The bot imports asyncio, aiohttp, sqlalchemy, redis and pydantic, and is ready when it says so from
inside ``asyncio.run``. Ours goes the whole way of the real supervisor: an order, a fork from the
zygote, a log file, ``bot.ready()``, the frame, the state. The others' bot has the same imports but
ours, and says so by one datagram. Plain starts and ours take turns, as do kills of ours and theirs,
so that what else the machine does disturbs all alike. Floors: a fork of a process of that size, and
``python -c pass``. Memory is the proportional set size (PSS) of 20 bots after work (queries by
SQLAlchemy, 5000 pydantic models, two collections), ours with zygote and spare.

supervisord, circus and PM2 are installed by pip and npm into a temporary folder, or into the one
that ``OUTRIDER_TEST_MANAGERS`` names, and configured as by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from benchmarks import harness, managers
from outrider.supervisor import logs
from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.spec import ProcessSpec, RestartPolicy
from outrider.supervisor.supervisor import Supervisor
from outrider.supervisor.zygote.launcher import LOG, ZygoteLauncher

if TYPE_CHECKING:
    from outrider.supervisor.process import Supervised

FLEET = 20
WITHIN_S = 60.0
# Between two starts the next spare is made, as it is in a fleet that does not restart all the time.
PAUSE_S = 0.2
KEPT = "OUTRIDER_TEST_MANAGERS"

IMPORTS = """
import asyncio
import gc
import os
import socket

import aiohttp
import pydantic
import redis.asyncio
import sqlalchemy.ext.asyncio
from sqlalchemy import create_engine, text
"""
OURS = (
    IMPORTS
    + """
import outrider


async def main():
    outrider.Bot("bot").ready()
    await asyncio.Event().wait()
"""
)
WORKED = (
    IMPORTS
    + """
import outrider


class Item(pydantic.BaseModel):
    number: int
    name: str


async def main():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        for number in range(200):
            connection.execute(text("select :n, 'a' || :n"), {"n": number}).all()
    kept = [Item(number=number, name=f"item {number}") for number in range(5000)]
    gc.collect()
    gc.collect()
    outrider.Bot("bot").ready()
    await asyncio.Event().wait()
    print(len(kept))
"""
)
THEIRS = (
    IMPORTS
    + """

async def main():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(str(os.getpid()).encode(), os.environ["READY_SOCKET"])
    await asyncio.Event().wait()


asyncio.run(main())
"""
)
FORKS = (
    IMPORTS
    + """
import sys
import time

gc.collect()
gc.freeze()
reads, writes = os.pipe()
for _ in range(int(sys.argv[1])):
    began = time.perf_counter()
    pid = os.fork()
    if not pid:
        os.write(writes, b"x")
        os._exit(0)
    os.read(reads, 1)
    print(1e3 * (time.perf_counter() - began))
    os.waitpid(pid, 0)
"""
)


def main() -> None:
    chosen = harness.options(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as temporary:
        folder = Path(temporary)
        kept = Path(os.environ.get(KEPT) or folder / "kept")
        for made in (folder / "bots", kept):
            made.mkdir(exist_ok=True)
        (folder / "bots" / "ours.py").write_text(OURS)
        (folder / "bots" / "worked.py").write_text(WORKED)
        (folder / "theirs.py").write_text(THEIRS)
        (folder / "forks.py").write_text(FORKS)
        asyncio.run(_main(folder, kept, 10 if chosen.quick else 30))


async def _main(folder: Path, kept: Path, runs: int) -> None:
    figures: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    with Ear(folder) as ear:
        async with Fleet(folder, zygote=True) as fleet:
            plain_ms, start_ms = await starts(fleet, ear, runs)
            peers["plain_ms"] = harness.spread(plain_ms)
            fleet_ms = await together(fleet, runs)
        peers["fork_ms"], peers["python_pass_ms"] = floors(folder, runs)
        figures["start_p50_ms"] = round(statistics.median(start_ms), 2)
        figures["start_ms"] = harness.spread(start_ms)
        figures["start_p90_ms"] = round(statistics.quantiles(start_ms, n=10)[-1], 2)
        figures["spawn_ratio"] = _ratio(plain_ms, start_ms)
        figures["fleet20_ms"] = round(statistics.median(fleet_ms), 1)
        figures["fleet20_spread_ms"] = harness.spread(fleet_ms)
        kills = await killed(folder, ear, kept, runs, peers)
    ours = kills.pop("ours")
    figures["kill_to_ready_p50_ms"] = round(statistics.median(ours), 2)
    figures["kill_to_ready_ms"] = harness.spread(ours)
    for name, theirs in kills.items():
        figures[f"restart_ratio_{name}"] = _ratio(theirs, ours)
        peers[name]["kill_to_ready_ms"] = harness.spread(theirs)
    forked, zygote_mib = await pss_mib(folder / "pss-zygote", folder, zygote=True)
    spawned, _ = await pss_mib(folder / "pss-spawned", folder, zygote=False)
    figures["pss_ratio"] = round(forked / spawned, 3)
    figures["pss_mib"] = {"zygote": round(forked, 1), "of_it_the_zygote": round(zygote_mib, 1)}
    peers["spawned_pss_mib"] = round(spawned, 1)
    harness.finish("startup", figures, peers)


class Ear:
    """Hears the bots of others say that they are ready."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ready.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def pid(self, within_s: float = WITHIN_S) -> int:
        """Return the pid of the next bot that says so."""
        async with asyncio.timeout(within_s):
            return int(await asyncio.get_running_loop().sock_recv(self._socket, 64))


class Fleet:
    """A real supervisor in a folder of its own."""

    def __init__(self, folder: Path, *, zygote: bool) -> None:
        self.bots = folder / "bots"
        self.launcher = (
            ZygoteLauncher(SpawnLauncher(), open_log=lambda: logs.open_file(folder / "logs", LOG))
            if zygote
            else SpawnLauncher()
        )
        self.supervisor = Supervisor(
            run_dir=folder / "run", logs_dir=folder / "logs", launcher=self.launcher
        )
        self._zygote = zygote

    async def __aenter__(self) -> Self:
        await self.supervisor.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.stop()
        await self.supervisor.close()

    def add(self, name: str, module: str = "ours") -> Supervised:
        entry = f"{module}:main"
        return self.supervisor.add(
            ProcessSpec(
                name,
                (sys.executable, "-m", "outrider.supervisor.entry", entry),
                bot=name,
                cwd=str(self.bots),
                env={
                    "OUTRIDER_BOT": name,
                    "OUTRIDER_TELEMETRY": str(self.supervisor.telemetry_path),
                },
                readiness="sdk",
                ready_timeout_s=WITHIN_S,
                restart=RestartPolicy(backoff_s=(0.0,), most=100_000),
                entry=entry if self._zygote else None,
            )
        )


async def ready(*processes: Supervised) -> None:
    async with asyncio.timeout(4 * WITHIN_S):
        for process in processes:
            while process.state != "ready":
                await process.changed.wait()


async def starts(fleet: Fleet, ear: Ear, runs: int) -> tuple[list[float], list[float]]:
    """Return plain starts and ours, in turns."""
    process = fleet.add("bot")
    process.start()  # boots the zygote
    await ready(process)
    plain_ms, start_ms = [], []
    bot = ear.path.with_name("theirs.py")
    for _ in range(runs):
        began = time.perf_counter()
        with subprocess.Popen(  # noqa: ASYNC220 - posix_spawn, which returns at once
            [sys.executable, str(bot)], env={**os.environ, "READY_SOCKET": str(ear.path)}
        ) as plain:
            await ear.pid()
            plain_ms.append(1e3 * (time.perf_counter() - began))
            plain.kill()
        await process.stop()
        await asyncio.sleep(PAUSE_S)
        began = time.perf_counter()
        process.start()
        await ready(process)
        start_ms.append(1e3 * (time.perf_counter() - began))
    await process.stop()
    return plain_ms, start_ms


async def together(fleet: Fleet, runs: int) -> list[float]:
    """Return how long it takes until all of 20 are ready that were told to start at once."""
    took_ms = []
    processes = [fleet.add(f"bot-{number}") for number in range(FLEET)]
    for _ in range(runs):
        await asyncio.sleep(PAUSE_S)
        began = time.perf_counter()
        for process in processes:
            process.start()
        await ready(*processes)
        took_ms.append(1e3 * (time.perf_counter() - began))
        await asyncio.gather(*(process.stop() for process in processes))
    return took_ms


def floors(folder: Path, runs: int) -> tuple[dict[str, float], dict[str, float]]:
    forks = subprocess.run(
        [sys.executable, str(folder / "forks.py"), str(runs)],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    passes = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        passes.append(1e3 * (time.perf_counter() - began))
    return harness.spread([float(each) for each in forks]), harness.spread(passes)


async def killed(
    folder: Path, ear: Ear, kept: Path, runs: int, peers: dict[str, Any]
) -> dict[str, list[float]]:
    """Return how long after SIGKILL a bot is ready again, by manager, in turns.

    A manager at rest costs next to nothing, so that all may be up at once.
    """
    took_ms: dict[str, list[float]] = {"ours": []}
    with contextlib.ExitStack() as stack:
        pids: dict[str, int] = {}
        for name in managers.NAMES:
            peers[name] = {}
            try:
                manager = await asyncio.to_thread(
                    managers.start, name, folder / "theirs.py",
                    {"READY_SOCKET": str(ear.path)}, kept,
                )  # fmt: skip
                stack.callback(manager.stop)
                pids[name] = await ear.pid()
            except (OSError, TimeoutError, subprocess.SubprocessError) as error:
                peers[name]["left_out"] = f"{type(error).__name__}: {error}"
                continue
            peers[name]["version"] = manager.version
            took_ms[name] = []
        async with Fleet(folder / "kills", zygote=True) as fleet:
            fleet.bots = folder / "bots"
            process = fleet.add("bot")
            process.start()
            await ready(process)
            for _ in range(runs):
                await asyncio.sleep(managers.SETTLED_S)
                for name, pid in pids.items():
                    began = time.perf_counter()
                    os.kill(pid, signal.SIGKILL)
                    pids[name] = await ear.pid()
                    took_ms[name].append(1e3 * (time.perf_counter() - began))
                assert process.pid is not None
                began = time.perf_counter()
                os.kill(process.pid, signal.SIGKILL)
                while process.state == "ready":
                    await process.changed.wait()
                await ready(process)
                took_ms["ours"].append(1e3 * (time.perf_counter() - began))
    return took_ms


async def pss_mib(own: Path, folder: Path, *, zygote: bool) -> tuple[float, float]:
    """Return the memory of 20 worked bots with all that serves them, and of what serves them."""
    async with Fleet(own, zygote=zygote) as fleet:
        fleet.bots = folder / "bots"
        processes = [fleet.add(f"bot-{number}", "worked") for number in range(FLEET)]
        for process in processes:
            process.start()
            if not zygote:  # one by one: their starts would time out on a small machine
                await ready(process)
        await ready(*processes)
        await asyncio.sleep(1.0)
        bots = {process.pid for process in processes if process.pid}
        serving = {child.pid for child in psutil.Process().children() if _serves(child)} - bots
        return sum(map(_pss_mib, bots | serving)), sum(map(_pss_mib, serving))


def _serves(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[0].startswith(("outrider: zygote", "outrider: spare"))
    except (psutil.Error, IndexError):
        return False


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return round(statistics.median(theirs) / statistics.median(ours), 1)


if __name__ == "__main__":
    main()
