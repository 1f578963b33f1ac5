"""Processes that somebody else runs: found, measured, and never touched.

By pid file, by a pattern on the command line, or by control group: so that what supervisord,
systemd or a user's own script runs is seen beside our own bots. Of several that match, the oldest
counts: it is the one that started the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from outrider.errors import BadArgument
from outrider.supervisor import family
from outrider.supervisor.process import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.settings import Foreign
    from outrider.supervisor.process import State
    from outrider.supervisor.spec import ProcessSpec

_CGROUPS = Path("/sys/fs/cgroup")


def find(foreign: Foreign) -> tuple[int | None, str]:
    """Return the pid of a foreign process, or None and why there is none."""
    if foreign.pid_file is not None:
        return _of_pid_file(foreign.pid_file)
    if foreign.cgroup is not None:
        pids = _of_cgroup(foreign.cgroup)
        return _oldest(pids), f"no process in the control group {foreign.cgroup}"
    assert foreign.pattern is not None
    pattern = re.compile(foreign.pattern)
    pids = [pid for pid in _others() if pattern.search(_command_line(pid))]
    return _oldest(pids), f"no command line matches {foreign.pattern}"


class Observed:
    """A foreign process in the list of those that are supervised. Orders to it are refused."""

    def __init__(
        self, spec: ProcessSpec, foreign: Foreign, tell: Callable[[str, str, str], None]
    ) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self.since_s = time.time()
        self.reason = "not looked for yet"
        self.restarts = self.crashes = 0
        self.start_s: float | None = None
        self.changed = asyncio.Event()
        self.run = None
        self.pid: int | None = None
        self._born = 0
        self._foreign = foreign
        self._tell = tell

    def look(self) -> None:
        """Look for it. Takes a millisecond or two on a host with some hundred processes."""
        pid, why = find(self._foreign)
        kin = family.look(pid) if pid else None
        if kin is not None and (kin.pid, kin.born) != (self.pid, self._born):
            self.restarts += self._born != 0
            self.pid, self._born = kin.pid, kin.born
            self._enter("ready", "")
        elif kin is None and (self.pid is not None or self.reason != why):
            self.pid = None
            self._enter("stopped", why)

    def status(self) -> Status:
        """Return what is known, as plain data."""
        return Status(
            self.spec.name, self.spec.bot, self.spec.kind, self.state, self.pid, self.since_s,
            self.restarts, self.crashes, self.reason, None, "foreign", foreign=True,
        )  # fmt: skip

    def refuse(self) -> NoReturn:
        """Refuse an order. Raises BadArgument."""
        raise BadArgument(
            f"{self.spec.name} is foreign: it is measured here and never touched. Give the order to"
            " whoever runs it, or declare it with entry or command in place of foreign."
        )

    def _enter(self, state: State, reason: str) -> None:
        self.state, self.reason, self.since_s = state, reason, time.time()
        self._tell(self.spec.name, "found" if state == "ready" else "gone", reason)
        self.changed.set()
        self.changed = asyncio.Event()


def _of_pid_file(path: Path) -> tuple[int | None, str]:
    try:
        text = path.read_text(encoding="ascii", errors="replace").split()
    except OSError as error:
        return None, f"{path} can't be read: {error.strerror}"
    if not text or not text[0].isdecimal():
        return None, f"{path} holds no pid"
    pid = int(text[0])
    kin = family.look(pid)
    if kin is None or kin.state == "Z":
        return None, f"{path} names {pid}, which does not run"
    return pid, ""


def _of_cgroup(name: str) -> list[int]:
    """Return the processes of a control group and those below, of either version."""
    relative = name.strip("/")
    with contextlib.suppress(OSError):
        for base in (_CGROUPS, *(each for each in _CGROUPS.iterdir() if each.is_dir())):
            files = list((base / relative).rglob("cgroup.procs"))
            pids = [int(pid) for file in files for pid in file.read_text().split()]
            if pids:
                return pids
    return []


def _others() -> list[int]:
    return [
        int(entry) for entry in os.listdir("/proc")  # noqa: PTH208
        if entry.isdecimal() and int(entry) != os.getpid()
    ]  # fmt: skip


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return words.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return ""


def _oldest(pids: list[int]) -> int | None:
    alive = [kin for pid in pids if (kin := family.look(pid)) and kin.state != "Z"]
    return min(alive, key=lambda kin: (kin.born, kin.pid)).pid if alive else None
