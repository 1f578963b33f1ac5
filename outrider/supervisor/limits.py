"""Gives each process its share of the machine, and says who comes first when it is short.

Applied from outside, right after a start, so that it is the same for whatever way a process was
started. By control group where one is delegated (:mod:`outrider.supervisor.cgroup`), otherwise:

=========  =====================================================================================
memory     the supervisor looks every few seconds and restarts gracefully; far above the limit
           (``RLIMIT_DATA``) the kernel refuses more, for leaks that are quicker than that
CPU        only an alert: nothing else than a control group holds a process to half a core
priority   ``nice``, and ``oom_score_adj`` in either way
=========  =====================================================================================

What can't be had (a higher priority needs a privilege) is told once, by name, and the bot runs.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from outrider.supervisor import cgroup

if TYPE_CHECKING:
    from collections.abc import Callable

Priority = Literal["low", "normal", "high"]

# RLIMIT_DATA counts what is reserved as well: stacks of threads, arenas of malloc.
_RESERVED_TIMES, _RESERVED_MORE = 2, 1 << 30


@dataclass(frozen=True, slots=True)
class _Rank:
    nice: int
    weight: int
    oom_score_adj: int


_RANKS: dict[str, _Rank] = {
    "low": _Rank(nice=10, weight=25, oom_score_adj=500),
    "normal": _Rank(nice=0, weight=100, oom_score_adj=0),
    "high": _Rank(nice=-5, weight=400, oom_score_adj=-250),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use. None is no limit."""

    memory_bytes: int | None = None
    cpu: float | None = None
    priority: Priority = "normal"

    @property
    def asks_for_nothing(self) -> bool:
        """Whether there is nothing to hold."""
        return self == Limits()


@dataclass(slots=True)
class Holder:
    """Holds limits; ``tell(name, what, detail)`` hears what can't be held, once a process name."""

    tell: Callable[[str, str, str], None]
    tree: cgroup.Tree | None = None
    _told: dict[str, str] = field(default_factory=dict)
    _divided: set[str] | None = None

    def hold(self, name: str, pid: int, limits: Limits) -> dict[str, str]:
        """Apply limits to a process; return by what each is held. Never raises, never blocks long.

        The process may have ended already; then nothing is held.
        """
        held: dict[str, str] = {}
        failed: list[str] = []
        if not limits.asks_for_nothing:
            by_group = self._by_group(name, pid, limits)
            held |= dict.fromkeys((what for what, there in by_group.items() if there), "cgroup")
            if limits.memory_bytes is not None and not by_group.get("memory"):
                _try(failed, "RLIMIT_DATA", lambda: _limit_data(pid, limits.memory_bytes))
                held["memory"] = "supervisor"
            if limits.cpu is not None and not by_group.get("cpu"):
                held["cpu"] = "alert"
            rank = _RANKS[limits.priority]
            if limits.priority != "normal":
                _try(
                    failed,
                    f"nice {rank.nice}",
                    lambda: os.setpriority(os.PRIO_PROCESS, pid, rank.nice),
                )
                _try(
                    failed, f"oom_score_adj {rank.oom_score_adj}",
                    lambda: Path(f"/proc/{pid}/oom_score_adj").write_text(str(rank.oom_score_adj)),
                )  # fmt: skip
                if not failed:
                    held["priority"] = "nice"
        self._say(name, failed)
        return held

    def clear(self, name: str) -> None:
        """End what an ended process left in its group, also what left its session."""
        group = self._group(name)
        if group and group.pids():
            _try([], "", group.kill)

    def release(self, name: str) -> None:
        """Remove the group of a process that is over; blocks for half a second at most."""
        self.clear(name)
        if group := self._group(name):
            group.remove()

    def _group(self, name: str) -> cgroup.Group | None:
        there = self.tree and self.tree.path_of(name)
        return cgroup.Group(there) if there and there.is_dir() else None

    def _by_group(self, name: str, pid: int, limits: Limits) -> dict[str, bool]:
        if self.tree is None:
            return {}
        try:
            if self._divided is None:
                self._divided = self.tree.divide()
            if not self._divided & {"memory", "cpu"}:
                return {}
            group = self.tree.group(name)
            group.take(pid)
        except OSError:
            return {}
        rank = _RANKS[limits.priority]
        return group.limit(memory_bytes=limits.memory_bytes, cpu=limits.cpu, weight=rank.weight)

    def _say(self, name: str, failed: list[str]) -> None:
        text = "; ".join(failed)
        if text and self._told.get(name) != text:
            self.tell(name, "limit not held", text)
        self._told[name] = text


def _limit_data(pid: int, memory_bytes: int | None) -> None:
    assert memory_bytes is not None
    most = max(_RESERVED_TIMES * memory_bytes, memory_bytes + _RESERVED_MORE)
    _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.prlimit(pid, resource.RLIMIT_DATA, (most, hard))


def _try(failed: list[str], what: str, act: Callable[[], object]) -> None:
    try:
        act()
    except (ProcessLookupError, FileNotFoundError):
        return  # it ended meanwhile
    except OSError as error:
        failed.append(f"{what}: {error.strerror}")
