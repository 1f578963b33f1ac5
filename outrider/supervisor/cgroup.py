"""Control groups, version 2: the kernel holds a bot's memory and CPU where a tree is delegated.

Delegated means: the group that this process runs in is ours to divide (a systemd unit with
``Delegate=yes``, a container with a writable ``/sys/fs/cgroup``, root). A group that has children
with controllers may not have processes itself, so ours are moved into one child, and each bot gets
another::

    our group            cgroup.subtree_control: +memory +cpu +pids
    ├── outrider.self    the supervisor and what it started before
    ├── outrider.canary  memory.high, memory.max, cpu.max, cpu.weight
    └── outrider.ledger

Which controllers there are differs from host to host (a version 1 hierarchy keeps what it has); a
limit whose file is not there is reported as not held, and :mod:`outrider.supervisor.limits` holds
it in another way. Files: Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WANTED = ("memory", "cpu", "pids")
_PREFIX = "outrider."
_SYSTEMD = Path("/run/systemd/system")  # there where systemd is in charge of the tree
_PERIOD_US = 100_000
# Moving and removing are retried: a process may fork or be reaped meanwhile.
_TRIES, _PAUSE_S = 50, 0.01


class Tree:
    """Our part of the tree: makes groups below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def divide(self) -> set[str]:
        """Hand controllers on to the groups below; return those that they have now.

        Raises:
            OSError: the tree is not ours to divide.
        """
        file = self.root / "cgroup.subtree_control"
        there, handed_on = _words(self.root / "cgroup.controllers"), set(_words(file))
        missing = [name for name in WANTED if name in there and name not in handed_on]
        if missing:
            self._make_room()
        for name in missing:
            # Each alone: one that can't be handed on must not keep the others back.
            with contextlib.suppress(OSError):
                file.write_text(f"+{name}")
        return set(_words(file))

    def group(self, name: str) -> Group:
        """Return the group of a process, made if it is not there. Raises OSError."""
        path = self.path_of(name)
        path.mkdir(exist_ok=True)
        return Group(path)

    def path_of(self, name: str) -> Path:
        """Return where the group of a process is, or would be."""
        return self.root / f"{_PREFIX}{name}"

    def _make_room(self) -> None:
        """Move our processes into a group of their own; the root of all may keep what it has."""
        if not (self.root / "cgroup.type").exists():
            return
        own = self.group("self")
        for pid in _words(self.root / "cgroup.procs"):
            with contextlib.suppress(ProcessLookupError):
                own.take(int(pid))


class Group:
    """One process tree's group."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self, pid: int) -> None:
        """Move a process here; what it starts from now on stays here too. Raises OSError."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def limit(self, *, memory_bytes: int | None, cpu: float | None, weight: int) -> dict[str, bool]:
        """Write limits; return which the kernel holds. None takes a limit away.

        At the limit the kernel reclaims and slows the bot down (``memory.high``), which leaves the
        supervisor time for a graceful restart; a quarter above it, it kills (``memory.max``).
        """
        most = "max" if memory_bytes is None else str(memory_bytes + memory_bytes // 4)
        quota = "max" if cpu is None else str(max(1000, round(cpu * _PERIOD_US)))
        return {
            "memory": self._write({
                "memory.high": "max" if memory_bytes is None else str(memory_bytes),
                "memory.max": most,
            }),
            "cpu": self._write({"cpu.max": f"{quota} {_PERIOD_US}"}),
            "weight": self._write({"cpu.weight": str(weight)}),
        }  # fmt: skip

    def usage(self) -> dict[str, int]:
        """Return what the kernel tells: bytes of memory now and at most, kills, throttled time."""
        found = {}
        for name, file in (
            ("memory_bytes", "memory.current"),
            ("memory_peak_bytes", "memory.peak"),
        ):
            with contextlib.suppress(OSError, ValueError):
                found[name] = int((self.path / file).read_text())
        for name, file, key in (
            ("oom_kills", "memory.events", "oom_kill"),
            ("cpu_us", "cpu.stat", "usage_usec"),
            ("throttled_us", "cpu.stat", "throttled_usec"),
        ):
            with contextlib.suppress(OSError, ValueError):
                lines = dict(line.split() for line in (self.path / file).read_text().splitlines())
                if key in lines:
                    found[name] = int(lines[key])
        return found

    def pids(self) -> list[int]:
        """Return who is in it."""
        return [int(pid) for pid in _words(self.path / "cgroup.procs")]

    def kill(self) -> None:
        """End every process in it at once, also those that left their session. Raises OSError."""
        (self.path / "cgroup.kill").write_text("1")

    def remove(self) -> bool:
        """Remove it; False when somebody is still in it. Blocks for half a second at most."""
        for _ in range(_TRIES):
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return True
            except OSError:
                time.sleep(_PAUSE_S)
            else:
                return True
        return False

    def _write(self, files: Mapping[str, str]) -> bool:
        """Write files of one controller; False when the group does not have it, or says no."""
        try:
            for name, text in files.items():
                # Opened without O_CREAT: a group without the controller must refuse, not succeed.
                opened = os.open(self.path / name, os.O_WRONLY)
                try:
                    os.write(opened, text.encode())
                finally:
                    os.close(opened)
        except OSError:
            return False
        return True


def find(proc: Path = Path("/proc/self")) -> Tree | None:
    """Return the tree below our own group; None when there is none that we may write to."""
    try:
        own = next(
            line.partition("::")[2]
            for line in (proc / "cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        mounts = [line.split(" - ") for line in (proc / "mountinfo").read_text().splitlines()]
    except (OSError, StopIteration):
        return None
    for mount in mounts:
        fields = mount[0].split(" ")
        if len(mount) > 1 and mount[1].startswith("cgroup2 "):
            seen = fields[3].rstrip("/")  # what of the tree is mounted there
            below = own.removeprefix(seen).lstrip("/")
            root = Path(fields[4]) / below
            if os.access(root / "cgroup.procs", os.W_OK) and _is_delegated(root):
                return Tree(root)
    return None


def delegated(proc: Path = Path("/proc/self")) -> set[str]:
    """Return those of the wanted controllers that our own group could hand on; changes nothing."""
    tree = find(proc)
    return set(WANTED) & set(_words(tree.root / "cgroup.controllers")) if tree else set()


def _is_delegated(group: Path) -> bool:
    """Tell whether a group that we may write to is meant to be ours: root may write to any."""
    if os.geteuid() != 0:
        return os.access(group, os.W_OK)
    for mark in ("trusted.delegate", "user.delegate"):  # what systemd puts on delegated groups
        with contextlib.suppress(OSError):
            return os.getxattr(group, mark) == b"1"
    return not _SYSTEMD.is_dir()


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
