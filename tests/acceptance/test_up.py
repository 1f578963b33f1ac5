"""`outrider up` as its users run it: in a folder, by its command, with real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from outrider import errors
from outrider import settings as settings_module
from outrider.store import connection
from outrider.supervisor import control
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

HEALED_WITHIN_S = 15.0
BOT = """
import asyncio
import outrider

async def main():
    bot = outrider.Bot()
    bot.ready()
    while True:
        with bot.timed("handle_update"):
            await asyncio.sleep(0.05)
        bot.count("updates")
"""
SETTINGS = """
interval_s = 2
[bots.canary]
entry = "small:main"
[bots.ticker]
command = ["bash", "-c", "while :; do sleep 1; done"]
"""


class Up:
    """One `outrider up` in a folder."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self.folder = folder
        (folder / "small.py").write_text(BOT)
        (folder / "outrider.toml").write_text(SETTINGS)
        kept = {n: value for n, value in os.environ.items() if not n.startswith("OUTRIDER_")}
        self.env = kept | env
        self.log = folder / "up.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "outrider", "up", *arguments],
                cwd=folder, env=self.env, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def run_dir(self) -> Path:
        return settings_module.load(self.folder / "outrider.toml").run_dir()

    def processes(self) -> dict[str, dict[str, Any]]:
        try:
            found = control.ask(self.run_dir, "snapshot")["processes"]
        except errors.SupervisorUnavailable:  # not yet, or just killed
            return {}
        return {p["name"]: p for p in found}

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        found = self.processes()
        return "ticker" in found and all(p["state"] == "ready" for p in found.values())

    def outrider(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "outrider", *arguments],
            cwd=self.folder, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def eventually(what: Callable[[], Any], within_s: float = 60.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s"
        time.sleep(0.1)
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start stacks; whatever is left of them is ended."""
    running: list[Up] = []

    def start(*arguments: str, **env: str) -> Up:
        running.append(Up(tmp_path, *arguments, **env))
        return running[-1]

    yield start
    for up in running:
        if up.process.poll() is None:
            up.process.send_signal(signal.SIGINT)
            up.process.wait(60)


def test_the_check_passes_on_a_fresh_folder(started: Callable[..., Up]) -> None:
    up = started("--for", "20s", "--check")

    code = up.process.wait(120)

    output = up.log.read_text()
    assert code == 0, output
    for promise in ("noticed", "running again", "alert fired", "notified"):
        line = next(line for line in output.splitlines() if line.strip().startswith(promise))
        assert "after" in line
    assert "check passed" in output
    assert not control.answers(up.run_dir)


def test_every_part_that_is_killed_is_back_and_work_goes_on(started: Callable[..., Up]) -> None:
    up = started()
    eventually(up.ready)
    family = up.family()
    for victim in ("worker", "beat", "valkey", "canary"):
        before = up.processes()[victim]
        os.kill(before["pid"], signal.SIGKILL)
        eventually(partial(_restarted, up, before), 10)
        eventually(up.ready, HEALED_WITHIN_S)
        eventually(lambda: _newest_row_age_s(up) < 4, HEALED_WITHIN_S)

    status = json.loads(up.outrider("status", "--json").stdout)
    happened = {(e["name"], e["detail"]) for e in status["stack"]["events"]}
    for victim in ("worker", "beat", "valkey", "canary"):
        assert (victim, "killed by SIGKILL") in happened
    assert "killed by SIGKILL" in up.outrider("status", "-n", "100").stdout

    family += up.family()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def _restarted(up: Up, before: dict[str, Any]) -> bool:
    return bool(up.processes()[before["name"]]["restarts"] > before["restarts"])


def _newest_row_age_s(up: Up) -> float:
    found = up.outrider("status", "--json")
    age_s = json.loads(found.stdout)["data_age_s"] if found.returncode == 0 else None
    return 1e9 if age_s is None else float(age_s)


@pytest.mark.long
def test_a_worker_that_hangs_is_replaced(started: Callable[..., Up]) -> None:
    up = started()
    eventually(up.ready)
    worker = up.processes()["worker"]
    os.kill(worker["pid"], signal.SIGSTOP)

    eventually(lambda: up.processes()["worker"]["restarts"] > worker["restarts"], 60)
    eventually(up.ready, HEALED_WITHIN_S)
    events = control.ask(up.run_dir, "snapshot")["events"]
    assert any(e["name"] == "worker" and e["detail"].startswith("watchdog") for e in events)


def test_people_see_command_and_ask(started: Callable[..., Up]) -> None:
    up = started()
    eventually(up.ready)

    listed = json.loads(up.outrider("bots", "list", "--json").stdout)
    assert [bot["name"] for bot in listed] == ["canary", "ticker"]
    assert "ready" in up.outrider("bots", "restart", "canary", "--why", "a test").stdout
    tuned = up.outrider("run", "tune.database")
    assert json.loads(tuned.stdout)
    refused = up.outrider("run", "supervise.restart", "bot=nobody")
    assert refused.returncode == 1
    assert "UnknownBot: no bot 'nobody'; this fleet has: canary, ticker" in refused.stderr
    scaled = json.loads(up.outrider("run", "supervise.scale", "bot=canary", "instances=2").stdout)
    assert [bot["name"] for bot in scaled["bots"]] == ["canary", "canary-2"]
    second = up.outrider("up", "--for", "1s")
    assert second.returncode == 2
    assert "a supervisor is at work" in second.stderr


def test_nothing_is_left_when_up_itself_is_killed(started: Callable[..., Up]) -> None:
    up = started()
    eventually(up.ready)
    family = up.family()
    up.process.kill()
    up.process.wait(10)

    gone, alive = psutil.wait_procs(family, timeout=30)

    assert (len(family), []) == (len(gone), alive)


def test_an_interrupt_during_the_start_ends_it(started: Callable[..., Up]) -> None:
    up = started()
    eventually(lambda: "worker" in up.processes())
    family = up.family()
    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(60) == 0
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_given_redis_is_used_and_left_running(started: Callable[..., Up]) -> None:
    with Server() as server:
        up = started("--for", "6s", OUTRIDER_REDIS_URL=server.url)

        assert up.process.wait(60) == 0, up.log.read_text()
        assert "valkey" not in up.log.read_text()
        assert connection.connect(server.url).exists("or:hosts")


def test_a_given_redis_that_does_not_answer_is_said_in_one_line(started: Callable[..., Up]) -> None:
    up = started(OUTRIDER_REDIS_URL="redis://127.0.0.1:1/0")

    assert up.process.wait(30) == 3
    assert up.log.read_text().startswith("outrider: Redis at redis://127.0.0.1:1/0 does not answer")
    assert len(up.log.read_text().splitlines()) == 1


def test_a_taken_port_is_no_error(started: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        up = started("--for", "3s", OUTRIDER_DASHBOARD__PORT=port)

        assert up.process.wait(60) == 0, up.log.read_text()
        assert f"127.0.0.1:{port}/" not in up.log.read_text()


def test_bad_settings_start_nothing(started: Callable[..., Up]) -> None:
    up = started(OUTRIDER_INTERVAL_S="often")

    assert up.process.wait(30) == 2
    assert "OUTRIDER_INTERVAL_S = 'often'" in up.log.read_text()
    assert not (up.folder / ".outrider").exists()


def test_a_supervisor_that_is_killed_is_replaced_and_everything_is_adopted(
    started: Callable[..., Up],
) -> None:
    up = started()
    eventually(up.ready)
    before = {name: p["pid"] for name, p in up.processes().items()}
    (supervisor,) = psutil.Process(up.process.pid).children()
    supervisor.kill()
    supervisor.wait(10)
    eventually(up.ready, HEALED_WITHIN_S)

    assert {name: p["pid"] for name, p in up.processes().items()} == before
    assert "killed by SIGKILL; the next one adopts what runs" in up.log.read_text()
    eventually(lambda: _newest_row_age_s(up) < 4, HEALED_WITHIN_S)
    told = {(e["name"], e["what"]) for e in control.ask(up.run_dir, "snapshot")["events"]}
    assert {("canary", "adopted"), ("valkey", "adopted")} <= told

    family = up.family()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
