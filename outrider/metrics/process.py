"""The processes of a fleet: which reader reads each, what changed since, and when it ended.

Some values are dear: the proportional share of memory costs as much as ten whole samples. They are
read of a few processes at each tick, in turn, and repeated until the next turn; a row whose names
change with every tick would be stored badly.

Whoever forks workers does its work in them: once children were seen, they are read at each tick
too. Which there are is looked for in turn, and out of turn when one has ended.
"""

from __future__ import annotations

import contextlib
import math
import resource
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outrider.metrics import procfs, reading
from outrider.metrics.portable import PortableReader
from outrider.metrics.reading import Deep, Gone, Reader, Reading
from outrider.samples import total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Ticks in which every process has its turn: some three minutes at the usual interval.
DEEP_EVERY = 20
# Descriptors that the rest of the worker may need at the same time.
RESERVED_DESCRIPTORS = 512
_CPU = Reading._fields.index("cpu_seconds")
_TOTALS = frozenset(
    {"cpu_seconds", "io_read_bytes", "io_write_bytes", "switches_voluntary", "switches_involuntary"}
)
_NAMES = (
    "up", "uptime_s", "cpu_ratio",
    *(total(name) if name in _TOTALS else name for name in Reading._fields),
)  # fmt: skip


def open_reader(pid: int) -> Reader:
    """Return the cheapest reader that works here. Raises Gone."""
    if procfs.available():
        try:
            return procfs.ProcReader(pid)
        except OSError:  # no descriptors are left
            pass
    return PortableReader(pid)


@dataclass(slots=True)
class _Child:
    reader: Reader
    cpu_seconds: float = math.nan


@dataclass(slots=True)
class _Seen:
    pid: int
    reader: Reader
    names: tuple[str, ...]
    cpu_seconds: float = math.nan
    at_s: float = math.nan
    deep: dict[str, float] = field(default_factory=dict)
    children: dict[int, _Child] = field(default_factory=dict)
    has_forked: bool = False


class ProcessCollector:
    """Collects ``bot.NAME.*`` for processes given by name and pid."""

    def __init__(
        self, *, opener: Callable[[int], Reader] = open_reader, deep_every: int = DEEP_EVERY
    ) -> None:
        self._open = opener
        self._every = deep_every
        self._seen: dict[str, _Seen] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()

    def collect(self, pids: Mapping[str, int | None], now_s: float) -> dict[str, float]:
        """Return values for each process; one that is gone has ``up`` 0 and nothing else."""
        held = len(pids) + sum(len(seen.children) for seen in self._seen.values())
        allow_descriptors(held * procfs.DESCRIPTORS_EACH + RESERVED_DESCRIPTORS)
        for name in self._seen.keys() - pids.keys():
            self._forget(name)
        values: dict[str, float] = {}
        for name, pid in pids.items():
            self._sample(name, pid, now_s, values)
        self._read_deep(values)
        return values

    def close(self) -> None:
        """Give back what is held open."""
        for name in list(self._seen):
            self._forget(name)

    def _sample(self, name: str, pid: int | None, now_s: float, values: dict[str, float]) -> None:
        try:
            seen = self._of(name, pid)
            now = seen.reader.read()
        except Gone:
            self._forget(name)
            values[f"bot.{name}.up"] = 0.0
            return
        if now.state == reading.ZOMBIE:  # its parent has not looked yet; it does nothing any more
            self._forget(name)
            values |= {f"bot.{name}.up": 0.0, f"bot.{name}.state": reading.ZOMBIE}
            return
        up, uptime_s, cpu_ratio, *names = seen.names
        cpu_seconds = names[_CPU]
        values[up] = 1.0
        for what, number in zip(names, now, strict=True):
            if number is not None:
                values[what] = number
        # Below a millisecond and a second it is noise, which no compression can do anything with.
        values[cpu_seconds] = round(now.cpu_seconds, 3)
        values[uptime_s] = float(max(0, round(now_s - seen.reader.started_s)))
        if now_s > seen.at_s:
            used_s = max(0.0, now.cpu_seconds - seen.cpu_seconds)
            values[cpu_ratio] = round(used_s / (now_s - seen.at_s), 4)
        passed_s = now_s - seen.at_s
        seen.cpu_seconds, seen.at_s = now.cpu_seconds, now_s
        values.update(seen.deep)
        if seen.has_forked:
            self._sample_children(name, seen, passed_s, values)

    def _sample_children(
        self, name: str, seen: _Seen, passed_s: float, values: dict[str, float]
    ) -> None:
        """Add up what the children use. Memory that they share is counted for each of them."""
        used_s = rss_bytes = 0.0
        for pid, child in list(seen.children.items()):
            try:
                now = child.reader.read()
            except (Gone, OSError):
                now = None
            if now is None or now.state == reading.ZOMBIE:
                seen.children.pop(pid).reader.close()
                self._turns.move_to_end(name, last=False)  # another may have taken its place
                continue
            rss_bytes += now.rss_bytes
            if child.cpu_seconds <= now.cpu_seconds:  # else it is the first look, NaN
                used_s += now.cpu_seconds - child.cpu_seconds
            child.cpu_seconds = now.cpu_seconds
        values[f"bot.{name}.children.rss_bytes"] = rss_bytes
        if passed_s > 0:
            values[f"bot.{name}.children.cpu_ratio"] = round(used_s / passed_s, 4)

    def _of(self, name: str, pid: int | None) -> _Seen:
        """Return what is known of a process, anew when its name has another pid by now."""
        seen = self._seen.get(name)
        if seen is not None and seen.pid == pid:
            return seen
        self._forget(name)
        if pid is None:
            raise Gone(f"{name} has no process.")
        names = tuple(f"bot.{name}.{what}" for what in _NAMES)
        seen = self._seen[name] = _Seen(pid, self._open(pid), names)
        self._turns[name] = None
        self._turns.move_to_end(name, last=False)
        return seen

    def _forget(self, name: str) -> None:
        seen = self._seen.pop(name, None)
        if seen:
            del self._turns[name]
            seen.reader.close()
            for child in seen.children.values():
                child.reader.close()

    def _read_deep(self, values: dict[str, float]) -> None:
        """Read what is dear of those whose turn it is; who is new comes first."""
        for _ in range(math.ceil(len(self._turns) / self._every)):
            name = next(iter(self._turns))
            self._turns.move_to_end(name)
            seen = self._seen[name]
            try:
                deep = seen.reader.read_deep()
                self._find_children(seen, deep)
            except (Gone, OSError):  # the next tick notices, or there are no descriptors left
                continue
            found = zip(deep._fields, deep, strict=True)
            seen.deep = {f"bot.{name}.{what}": n for what, n in found if n is not None}
            values.update(seen.deep)

    def _find_children(self, seen: _Seen, deep: Deep) -> None:
        """Open readers of those that are new, close those of others. Raises Gone or OSError."""
        if not deep.children and not seen.children:
            return
        pids = seen.reader.descendants() if deep.children else []
        for pid in seen.children.keys() - set(pids):
            seen.children.pop(pid).reader.close()
        for pid in pids:
            if pid not in seen.children:
                with contextlib.suppress(Gone):
                    seen.children[pid] = _Child(self._open(pid))
        seen.has_forked = True


def allow_descriptors(wanted: int) -> int:
    """Raise this process's own limit of open files if it is lower. Return what is allowed then.

    Only up to the hard limit: beyond it the rest is read with psutil, which keeps none open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return raised
