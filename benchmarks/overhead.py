"""What Outrider itself costs: CPU share and PSS of the stack with 4 and with 50 bots.

Starts the real stack on a fleet of small bots, lets it settle, and reads the kernel's own counters
of every process of the stack: the supervisor, Valkey, worker, beat, Flower and the dashboard. The
bots are not counted. Beside it in the same run, as the floor: an idle Valkey, a threaded Celery
worker, a beat and a Flower of the same versions that do nothing at all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import harness
from outrider import settings as settings_module
from outrider.store import address
from outrider.supervisor import control
from outrider.workers import valkey

SETTLE_S = 35.0
BOT = """
import asyncio
import outrider

async def main():
    bot = outrider.Bot()
    bot.ready()
    while True:
        with bot.timed("handle_update"):
            await asyncio.sleep(0.5)
        bot.count("updates")
        bot.gauge("queue", 3)
"""
IDLE_APP = """
from celery import Celery
app = Celery("idle", broker={url!r}, backend={url!r})
app.conf.beat_schedule_filename = {folder!r} + "/schedule"
"""


def main() -> None:
    chosen = harness.options(__doc__ or "")
    seconds, runs = (20.0, 1) if chosen.quick else (60.0, 3)
    figures: dict[str, Any] = {}
    for bots in (4, 50):
        cpu, pss, parts = measured(bots, seconds, runs)
        figures[f"cpu_share_{bots}_bots"] = harness.spread(cpu)["median"]
        figures[f"pss_mib_{bots}_bots"] = harness.spread(pss, 1)["median"]
        figures[f"spread_{bots}_bots"] = {
            "cpu_share": harness.spread(cpu), "pss_mib": harness.spread(pss, 1), "last_run": parts,
        }  # fmt: skip
    peers = {"idle Valkey, threaded worker, beat, Flower": floor(seconds)}
    harness.finish("overhead", figures, peers)


def measured(
    bots: int, seconds: float, runs: int
) -> tuple[list[float], list[float], dict[str, dict[str, float]]]:
    """Run the stack once and measure it ``runs`` times in a row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small.py").write_text(BOT)
        (folder / "outrider.toml").write_text(
            f'interval_s = 10\n[bots.small]\nentry = "small:main"\ninstances = {bots}\n'
        )
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OUTRIDER_")}
        stack = subprocess.Popen(
            [sys.executable, "-m", "outrider", "up"],
            cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            settings = settings_module.load(folder / "outrider.toml")
            wait_ready(settings, bots, stack)
            time.sleep(SETTLE_S)
            processes = stack_processes(settings, stack.pid)
            samples = [sample(processes, seconds) for _ in range(runs)]
        finally:
            stack.send_signal(signal.SIGINT)
            stack.wait(60)
    cpu = [sum(part["cpu_share"] for part in parts.values()) for parts in samples]
    pss = [sum(part["pss_mib"] for part in parts.values()) for parts in samples]
    return cpu, pss, samples[-1]


def wait_ready(
    settings: settings_module.Settings, bots: int, stack: subprocess.Popen[bytes]
) -> None:
    """Wait until every bot is ready and the addresses are known."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and stack.poll() is None:
        time.sleep(0.5)
        if address.read_stack(settings) and control.answers(settings.run_dir()):
            found = control.ask(settings.run_dir(), "snapshot")["processes"]
            if sum(p["kind"] == "bot" and p["state"] == "ready" for p in found) == bots:
                return
    raise SystemExit("the stack did not become ready")


def stack_processes(
    settings: settings_module.Settings, supervisor: int
) -> dict[str, psutil.Process]:
    """Return the processes that are Outrider's own."""
    found = control.ask(settings.run_dir(), "snapshot")["processes"]
    pids = {entry["name"]: entry["pid"] for entry in found if entry["kind"] == "stack"}
    return {name: psutil.Process(pid) for name, pid in {"supervisor": supervisor, **pids}.items()}


def sample(processes: dict[str, psutil.Process], seconds: float) -> dict[str, dict[str, float]]:
    """Return CPU share and PSS of each process over a time."""
    before = {name: cpu_seconds(process) for name, process in processes.items()}
    start = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    return {
        name: {
            "cpu_share": round((cpu_seconds(process) - before[name]) / took, 5),
            "pss_mib": round(process.memory_full_info().pss / 2**20, 2),
        }
        for name, process in processes.items()
    }


def cpu_seconds(process: psutil.Process) -> float:
    """Return user and system time, children that ended included."""
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def floor(seconds: float) -> dict[str, float]:
    """Measure the same programs with nothing to do."""
    with tempfile.TemporaryDirectory() as name:
        port = valkey.free_port()
        url = f"redis://127.0.0.1:{port}/0"
        (Path(name) / "idle.py").write_text(IDLE_APP.format(url=url, folder=name))
        celery = [sys.executable, "-m", "celery", "-A", "idle", "--quiet"]
        programs = {
            "valkey": [valkey.binary(), "--port", str(port), "--save", "", "--dir", name],
            "worker": [*celery, "worker", "-P", "threads", "-c", "4"],
            "beat": [*celery, "beat"],
            "flower": [*celery, "flower", f"--port={valkey.free_port()}"],
        }
        running = {}
        for part, argv in programs.items():
            running[part] = subprocess.Popen(
                argv, cwd=name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(0.5)
        try:
            time.sleep(SETTLE_S / 2)
            processes = {part: psutil.Process(process.pid) for part, process in running.items()}
            parts = sample(processes, seconds)
        finally:
            for process in reversed(running.values()):
                process.terminate()
            for process in running.values():
                process.wait(30)
    return {
        "cpu_share": round(sum(part["cpu_share"] for part in parts.values()), 4),
        "pss_mib": round(sum(part["pss_mib"] for part in parts.values()), 1),
    }


if __name__ == "__main__":
    main()
