from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from outrider.supervisor.cgroup import Tree
from outrider.supervisor.limits import Holder, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.supervisor.fleets import Fleet, Run

MIB = 1 << 20
WAIT = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(WAIT)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def told() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def holder(told: list[tuple[str, str, str]]) -> Holder:
    return Holder(lambda *news: told.append(news))


def test_without_a_group_memory_is_watched_and_far_above_it_refused(
    holder: Holder, child: subprocess.Popen[bytes]
) -> None:
    held = holder.hold("owl", child.pid, Limits(memory_bytes=100 * MIB))

    assert held == {"memory": "supervisor"}
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA)[0] == 100 * MIB + (1 << 30)


def test_a_bot_that_grabs_far_more_than_its_limit_gets_a_memory_error(holder: Holder) -> None:
    code = "import sys; sys.stdin.read(1)\ntry: bytearray(3 << 30)\nexcept MemoryError: sys.exit(7)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE) as bot:
        holder.hold("owl", bot.pid, Limits(memory_bytes=100 * MIB))
        bot.communicate(b"x")

    assert bot.returncode == 7


def test_a_low_priority_yields_and_is_killed_first(
    holder: Holder, child: subprocess.Popen[bytes]
) -> None:
    held = holder.hold("owl", child.pid, Limits(priority="low"))

    assert held == {"priority": "nice"}
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 10
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "500\n"


def test_nothing_asked_is_nothing_done(holder: Holder, child: subprocess.Popen[bytes]) -> None:
    assert holder.hold("owl", child.pid, Limits()) == {}
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 0


def test_a_cpu_limit_without_a_group_is_only_an_alert(
    holder: Holder, child: subprocess.Popen[bytes]
) -> None:
    assert holder.hold("owl", child.pid, Limits(cpu=0.5)) == {"cpu": "alert"}


def test_a_process_that_ended_already_is_no_error(
    holder: Holder, told: list[tuple[str, str, str]]
) -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as bot:
        pass

    holder.hold("owl", bot.pid, Limits(memory_bytes=100 * MIB, priority="low"))

    assert told == []


def test_what_is_refused_is_told_once_and_the_rest_is_held(
    holder: Holder, told: list[tuple[str, str, str]], child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)

    for _ in range(2):
        held = holder.hold("owl", child.pid, Limits(memory_bytes=100 * MIB, priority="low"))

    assert held == {"memory": "supervisor"}
    assert told == [("owl", "limit not held", "nice 10: Permission denied")]


def test_a_delegated_group_holds_memory_cpu_and_weight(
    tmp_path: Path, child: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    group = tmp_path / "outrider.owl"
    group.mkdir()
    for name in ("memory.high", "memory.max", "cpu.max", "cpu.weight", "cgroup.procs"):
        (group / name).write_text("")
    holder = Holder(lambda *_: None, Tree(tmp_path))

    held = holder.hold("owl", child.pid, Limits(100 * MIB, 0.5, "low"))

    assert held == {
        "memory": "cgroup", "cpu": "cgroup", "weight": "cgroup", "priority": "nice",
    }  # fmt: skip
    assert (group / "cgroup.procs").read_text() == str(child.pid)
    assert (group / "cpu.weight").read_text() == "25"
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_the_supervisor_holds_limits_from_a_bots_start_on(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("owl", memory_limit_bytes=200 * MIB, priority="low"))
        await fleet.becomes("ready", "owl")

        assert os.getpriority(os.PRIO_PROCESS, fleet.pid("owl")) == 10
        told = (await fleet.order("diagnose", bot="owl"))["result"][0]
        assert told["limits_held_by"] == {"memory": "supervisor", "priority": "nice"}

    run(test)
