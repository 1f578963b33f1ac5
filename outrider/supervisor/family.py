"""The tree of a process: who belongs to it, who left it on purpose, and how all of it is ended.

::

    supervisor (subreaper)
     ├── bot, leader of its session ──► its children: found below it
     └── a daemon that forked twice: the kernel gave it to us, and one of these says whose it is:
         its session, the mark in its environment, or that it was seen below its bot before

A process may leave its session and its parent, but not its environment, nor the nearest subreaper.
A cgroup would hold it too; this works wherever nobody delegated one. What it can't see is a daemon
that cleared its environment within a second of its birth: that one ends with the supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARK = "OUTRIDER_PROCESS"
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 50
# A zombie of unknown origin may still be waited for by whoever started it.
_LOOKS_BEFORE_REAPED = 3
_MOST_SEEN = 10_000


@dataclass(frozen=True, slots=True)
class Kin:
    """What ``/proc/PID/stat`` says. ``born`` is in clock ticks since the host's boot."""

    pid: int
    state: str
    parent: int
    session: int
    born: int
    cpu_s: float
    rss_bytes: int


_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def look(pid: int) -> Kin | None:
    """Return what is known of a process; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - read for every process
            # The name may hold blanks and brackets; what follows its last bracket does not.
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    return Kin(
        pid, fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]),
        (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[21]) * _PAGE_BYTES,
    )  # fmt: skip


def children(pid: int) -> list[int]:
    """Return the children of all its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{pid}/task/{thread}/children", "rb") as file,  # noqa: PTH123
            ):
                found += map(int, file.read().split())
    return found


def below(pid: int, *, most: int = 100_000) -> list[int]:
    """Return every descendant, ``most`` at most."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < most:
        fresh = children(waiting.pop())
        found += fresh
        waiting += fresh
    return found[:most]


def mark_of(pid: int) -> str:
    """Return which process of which supervisor it was started for; empty when it does not say."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        for entry in file.read().split(b"\0"):
            if entry.startswith(f"{MARK}=".encode()):
                return entry.partition(b"=")[2].decode("utf-8", "replace")
    return ""


def become_subreaper() -> None:
    """Have orphans among our descendants given to us and not to process 1."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Family:
    """Every process that one supervisor answers for. ``mains`` maps pids to their names."""

    def __init__(self, run_dir: Path) -> None:
        # The folder names the supervisor across its own deaths.
        self._house = hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:12]
        self.mains: dict[int, str] = {}
        # Main processes that an earlier supervisor started: their orphans were not given to us.
        self.adopted: set[int] = set()
        self._sessions: dict[int, str] = {}
        # Descendants that were seen, with their birth: a pid may be another process by now.
        self._seen: dict[int, tuple[int, str]] = {}
        self._zombies: dict[int, int] = {}

    def mark(self, name: str) -> str:
        """Return the mark of a process of ours."""
        return f"{self._house}/{name}"

    def take(self, pid: int, name: str) -> None:
        """Note that a process is the main one of a name."""
        self.mains[pid] = name
        self._sessions[pid] = name

    def tree(self, pid: int, name: str, *, most: int = 100_000) -> list[int]:
        """Return a process's descendants, with those that were given to us."""
        found = below(pid, most=most)
        for child in self._orphans():
            if self._owner(child) == name:
                found += [child, *below(child, most=most)]
        for member in found:
            if kin := look(member):
                self._seen[member] = (kin.born, name)
        return found[:most]

    def end_tree(self, pid: int, name: str) -> int:
        """Kill a process and its whole tree, however fast it forks. Return how many there were."""
        ended: set[int] = set()
        adopted = pid in self.adopted
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # all at once: nobody of the group forks meanwhile
        for _ in range(_ROUNDS):
            members = self.tree(pid, name) + (self._elsewhere(pid, name) if adopted else [])
            alive = [
                kin.pid for member in members if (kin := look(member)) and kin.state != "Z"
            ]  # fmt: skip
            if not alive:
                break
            # Stopped first, so that none of them has another child while the others are killed.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for member in alive:
                    _send(member, number)
            ended |= set(alive)
        return len(ended)

    def end_marked(self, names: Iterable[str]) -> list[tuple[int, str]]:
        """Kill what was started for processes that do not run; looks at every process there is.

        For the times when we were not there to be given orphans: ``names`` are those that do run.
        """
        running, ended = set(names), []
        for pid in _everybody():
            house, _, name = mark_of(pid).partition("/")
            if house == self._house and name not in running:
                _send(pid, signal.SIGKILL)
                ended.append((pid, name))
        return ended

    def reap(self) -> None:
        """Collect orphans that were given to us and ended. Children of other code are let be."""
        ours, seen = os.getsid(0), {}
        for child in self._orphans():
            kin = look(child)
            if kin is None or kin.state != "Z" or kin.session == ours:
                continue
            seen[child] = self._zombies.get(child, 0) + 1
            known = self._was_seen(kin) or kin.session in self._sessions
            if known or seen[child] >= _LOOKS_BEFORE_REAPED:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, os.WNOHANG)
        self._zombies = seen

    def forget(self, pid: int) -> None:
        """Note that a main process ended."""
        self.mains.pop(pid, None)
        self.adopted.discard(pid)
        if len(self._seen) > _MOST_SEEN:
            alive = set(_everybody())
            self._seen = {pid: seen for pid, seen in self._seen.items() if pid in alive}
        if len(self._sessions) > _MOST_SEEN:
            self._sessions = dict(self.mains)

    def _elsewhere(self, pid: int, name: str) -> list[int]:
        """Return a process's descendants wherever they are; looks at every process there is."""
        return [
            other for other in _everybody()
            if other not in self.mains
            and (mark_of(other) == self.mark(name)
                 or ((kin := look(other)) is not None and kin.session == pid))
        ]  # fmt: skip

    def _orphans(self) -> list[int]:
        return [child for child in children(os.getpid()) if child not in self.mains]

    def _owner(self, pid: int) -> str:
        """Return whose an orphan is; empty when nothing tells."""
        kin = look(pid)
        if kin is None:
            return ""
        if seen := self._was_seen(kin):
            return seen
        house, _, name = mark_of(pid).partition("/")
        return name if house == self._house else self._sessions.get(kin.session, "")

    def _was_seen(self, kin: Kin) -> str:
        born, name = self._seen.get(kin.pid, (-1, ""))
        return name if born == kin.born else ""


def _everybody() -> list[int]:
    own = os.getpid()
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and int(entry) != own]  # noqa: PTH208


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
