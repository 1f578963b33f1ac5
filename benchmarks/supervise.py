"""What supervision costs, how soon it acts, and what a killed supervisor leaves of its fleet.

Twenty processes that do nothing (``sleep``), so that only the supervisor's own work is measured,
under Outrider and, where it is on the PATH, under supervisord: processor time while nothing
happens, from SIGKILL of a bot to its next process, and from SIGKILL of the supervisor until one
answers for all twenty again, with how many kept their pid.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import harness
from outrider.supervisor import control, family

if TYPE_CHECKING:
    from collections.abc import Callable

BOTS = 20
PATIENCE_S = 60.0
OURS = """
import asyncio, sys
from pathlib import Path
from outrider.supervisor.spec import ProcessSpec, RestartPolicy
from outrider.supervisor.supervisor import Supervisor
from outrider.workers import runner

async def main():
    folder = Path(sys.argv[1])
    running = Supervisor(run_dir=folder / "run", logs_dir=folder / "logs")
    await running.open()
    always = RestartPolicy(backoff_s=(0.0,), most=10_000)
    specs = [
        ProcessSpec(f"bot{n}", ("sleep", "6000"), f"bot{n}", restart=always)
        for n in range(int(sys.argv[2]))
    ]
    running.declare(specs)
    await running.settle_left()
    running.start_in_order(specs)
    ended = asyncio.Event()
    for number in runner.SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await running.stop()
    await running.close()

runner.stay_behind(lambda text: None)
asyncio.run(main())
"""


class Outrider:
    """Our supervisor with its parent and its log keeper."""

    name = "outrider"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parent = subprocess.Popen([sys.executable, "-c", OURS, str(folder), str(BOTS)])

    def pids(self) -> dict[str, int]:
        """Return the bots that the supervisor says are up."""
        try:
            found = control.ask(self.folder / "run", "snapshot", timeout_s=5)["processes"]
        except Exception:  # noqa: BLE001 - nobody answers for the moment
            return {}
        return {p["name"]: p["pid"] for p in found if p["pid"] and p["state"] != "stopping"}

    def supervisor(self) -> psutil.Process:
        """Return the process that supervises."""
        return psutil.Process(self.parent.pid).children()[0]

    def own(self) -> list[psutil.Process]:
        """Return all processes but the bots."""
        family = [psutil.Process(self.parent.pid), *psutil.Process(self.parent.pid).children(True)]
        return [process for process in family if process.name() != "sleep"]

    def revive(self) -> None:
        """Do nothing: the parent starts the next one."""

    def close(self) -> None:
        """End all."""
        self.parent.send_signal(signal.SIGTERM)
        self.parent.wait(PATIENCE_S)


class Supervisord:
    """The same fleet under supervisord; restarted by hand when it was killed, as by an init."""

    name = "supervisord"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = "\n".join(
            f"[program:bot{n}]\ncommand=sleep 6000\nstartsecs=0\nstdout_logfile={folder}/{n}.log"
            for n in range(BOTS)
        )
        (folder / "supervisord.conf").write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/s.log\npidfile={folder}/s.pid\n"
            f"childlogdir={folder}\n{programs}\n"
        )
        self.marks: set[int] = set()
        self.revive()

    def revive(self) -> None:
        """Start it, as an init would."""
        self.process = subprocess.Popen(
            ["supervisord", "-c", str(self.folder / "supervisord.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def pids(self) -> dict[str, int]:
        """Return its children, by their place among them."""
        found = [p.pid for p in self.supervisor().children() if p.name() == "sleep"]
        self.marks |= set(found)
        return {str(pid): pid for pid in found}

    def supervisor(self) -> psutil.Process:
        """Return the process that supervises."""
        return psutil.Process(self.process.pid)

    def own(self) -> list[psutil.Process]:
        """Return all processes but the bots."""
        return [self.supervisor()]

    def close(self) -> None:
        """End it, and what it forgot."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        for pid in self.marks:
            try:
                if psutil.Process(pid).name() == "sleep":
                    os.kill(pid, signal.SIGKILL)
            except (psutil.Error, ProcessLookupError):
                continue


def until(condition: Callable[[], Any]) -> None:
    """Wait for something; give up after a minute."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > PATIENCE_S:
            raise SystemExit("gave up waiting")
        time.sleep(0.0005)


def measure(fleet: Outrider | Supervisord, *, kills: int, idle_s: float) -> dict[str, Any]:
    """Return the figures of one supervisor."""
    until(lambda: len(fleet.pids()) == BOTS)
    time.sleep(3)
    before = _cpu_s(fleet)
    time.sleep(idle_s)
    cpu_ratio = (_cpu_s(fleet) - before) / idle_s
    again = []
    for number in range(kills):
        had = fleet.pids()
        victim = sorted(had.values())[number % BOTS]
        is_again = partial(_one_new, fleet.supervisor().pid, set(had.values()))
        start = time.perf_counter()  # before: we may lose the processor right after the kill
        os.kill(victim, signal.SIGKILL)
        until(is_again)
        again.append((time.perf_counter() - start) * 1000)
        until(lambda: len(fleet.pids()) == BOTS)
        time.sleep(0.05)
    memory = sum(process.memory_full_info().pss for process in fleet.own())
    had = fleet.pids()
    fleet.supervisor().kill()
    if isinstance(fleet, Supervisord):
        fleet.process.wait()
    start = time.perf_counter()
    fleet.revive()
    until(lambda: len(fleet.pids()) == BOTS)
    return {
        "cpu_ratio_idle": round(cpu_ratio, 5),
        "kill_to_again_ms": harness.spread(again, 2),
        "pss_mib": round(memory / 2**20, 1),
        "revived_ms": round((time.perf_counter() - start) * 1000),
        "adopted": len(set(had.values()) & set(fleet.pids().values())),
        "left_behind": sum(psutil.pid_exists(pid) for pid in had.values())
        - len(set(had.values()) & set(fleet.pids().values())),
    }


def _one_new(supervisor: int, had: set[int]) -> bool:
    """Look for another child that is a bot; asked of the kernel, which costs next to nothing."""
    return any(
        pid not in had and Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
        for pid in family.children(supervisor)
    )


def _cpu_s(fleet: Outrider | Supervisord) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in fleet.own())


def main() -> None:
    """Measure, and print the figures."""
    options = harness.options(__doc__ or "")
    kinds: list[type[Outrider | Supervisord]] = [Outrider]
    if shutil.which("supervisord"):
        kinds.append(Supervisord)
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            fleet = kind(Path(folder))
            try:
                found[kind.name] = measure(
                    fleet, kills=5 if options.quick else 40, idle_s=5 if options.quick else 30
                )
            finally:
                fleet.close()
    harness.finish("supervise", found.pop("outrider"), found)


if __name__ == "__main__":
    main()
