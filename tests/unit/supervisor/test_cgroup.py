"""Against the kernel's own tree where one is writable, and against its file formats in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from outrider.supervisor import cgroup
from outrider.supervisor.cgroup import Group, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def real() -> Iterator[Tree]:
    """A group of the kernel's own for this test."""
    found = cgroup.find()
    if found is None:
        pytest.skip("no version 2 tree that this user may divide")
    path = found.root / f"outrider-test-{os.getpid()}"
    path.mkdir()
    yield Tree(path)
    for group in path.glob("*/"):
        Group(group).kill()
        assert Group(group).remove()
    path.rmdir()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(WAIT)
    yield process
    process.kill()
    process.wait()


def files(folder: Path, **texts: str) -> Path:
    """A group as the kernel shows it; ``__`` in a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_process_is_taken_counted_killed_and_its_group_removed(
    real: Tree, child: subprocess.Popen[bytes]
) -> None:
    group = real.group("canary")
    group.take(child.pid)

    assert group.pids() == [child.pid]
    assert group.usage()["cpu_us"] >= 0
    group.kill()
    assert child.wait(20) == -9
    assert group.remove()
    assert not group.path.exists()


def test_a_group_with_somebody_in_it_is_not_removed(
    real: Tree, child: subprocess.Popen[bytes]
) -> None:
    group = real.group("canary")
    group.take(child.pid)

    assert not group.remove()
    assert group.pids() == [child.pid]


def test_what_the_kernel_has_no_file_for_is_not_held(real: Tree) -> None:
    controllers = real.divide()
    held = real.group("canary").limit(memory_bytes=1 << 28, cpu=0.5, weight=50)

    assert held == {
        "memory": "memory" in controllers, "cpu": "cpu" in controllers,
        "weight": "cpu" in controllers,
    }  # fmt: skip


def test_every_controller_that_is_there_is_handed_on(real: Tree) -> None:
    there = set((real.root / "cgroup.controllers").read_text().split())

    assert real.divide() & set(cgroup.WANTED) == there & set(cgroup.WANTED)


def test_limits_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    path = files(tmp_path, memory__high="max\n", memory__max="max\n", cpu__max="max 100000\n",
                 cpu__weight="100\n")  # fmt: skip

    held = Group(path).limit(memory_bytes=400, cpu=0.5, weight=25)

    assert held == {"memory": True, "cpu": True, "weight": True}
    texts = {file.name: file.read_text().split("\n")[0] for file in path.iterdir()}
    assert texts["memory.high"].startswith("400")
    assert texts["memory.max"].startswith("500")
    assert texts["cpu.max"].startswith("50000 100000")
    assert texts["cpu.weight"].startswith("25")


def test_no_limit_is_written_as_max(tmp_path: Path) -> None:
    path = files(tmp_path, memory__high="", memory__max="", cpu__max="", cpu__weight="")

    Group(path).limit(memory_bytes=None, cpu=None, weight=100)

    assert (path / "memory.high").read_text() == "max"
    assert (path / "memory.max").read_text() == "max"
    assert (path / "cpu.max").read_text() == "max 100000"


def test_use_is_read_from_the_kernels_formats(tmp_path: Path) -> None:
    path = files(
        tmp_path, memory__current="1048576\n", memory__peak="2097152\n",
        memory__events="low 0\nhigh 3\nmax 1\noom 1\noom_kill 2\n",
        cpu__stat="usage_usec 7000\nuser_usec 4000\nthrottled_usec 90\n",
    )  # fmt: skip

    assert Group(path).usage() == {
        "memory_bytes": 1048576, "memory_peak_bytes": 2097152, "oom_kills": 2, "cpu_us": 7000,
        "throttled_us": 90,
    }  # fmt: skip


def test_a_group_without_controllers_has_no_use_to_tell(tmp_path: Path) -> None:
    assert Group(tmp_path).usage() == {}


def proc(folder: Path, *, own: str, mount: str) -> Path:
    return files(folder / "proc", cgroup=f"9:name=systemd:/x\n0::{own}\n", mountinfo=mount)


def test_our_own_group_is_found_below_where_the_tree_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path / "none")
    group = files(tmp_path / "tree" / "bots.service", cgroup__procs="")
    mount = f"31 24 0:27 / {tmp_path}/tree rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"

    found = cgroup.find(proc(tmp_path, own="/bots.service", mount=mount))

    assert found is not None
    assert found.root == group


def test_a_container_sees_its_own_part_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path / "none")
    group = files(tmp_path / "tree", cgroup__procs="")
    mount = f"31 24 0:27 /docker/1 {tmp_path}/tree rw - cgroup2 cgroup rw\n"

    found = cgroup.find(proc(tmp_path, own="/docker/1", mount=mount))

    assert found is not None
    assert found.root == group


def test_root_leaves_alone_what_systemd_did_not_delegate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    files(tmp_path / "tree", cgroup__procs="")
    mount = f"31 24 0:27 / {tmp_path}/tree rw - cgroup2 cgroup2 rw\n"

    assert cgroup.find(proc(tmp_path, own="/", mount=mount)) is None


@pytest.mark.parametrize("text", ["", "9:memory:/x\n"])
def test_a_host_without_version_2_has_no_tree(tmp_path: Path, text: str) -> None:
    assert cgroup.find(files(tmp_path, cgroup=text, mountinfo="")) is None
    assert cgroup.find(tmp_path / "nowhere") is None


def test_our_processes_move_out_of_a_group_before_it_is_divided(tmp_path: Path) -> None:
    root = files(
        tmp_path, cgroup__controllers="cpu memory pids io\n", cgroup__subtree_control="",
        cgroup__procs="17\n", cgroup__type="domain\n",
    )  # fmt: skip
    files(root / "outrider.self", cgroup__procs="")

    Tree(root).divide()

    assert (root / "outrider.self" / "cgroup.procs").read_text() == "17"
