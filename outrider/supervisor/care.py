"""Looks after what runs, once a second: limits, liveness, logs, orphans. Ends need no look.

Each look costs a few reads of ``/proc`` for each process. What it finds is acted on in a task of
its own, so that one bot which takes its time to stop does not keep the others from being seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from outrider import units
from outrider.supervisor import family, liveness

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from outrider.supervisor.process import Supervised
    from outrider.supervisor.supervisor import Supervisor

LOOK_S = 1.0
FOREIGN_S = 5.0
CPU_FOR_S = 60.0
_HELD_TOLD_EVERY_S = 60.0


@dataclass
class _Notes:
    """What was seen of one process before."""

    pid: int = 0
    cpu_s: float = 0.0
    at_s: float = 0.0
    ready_s: float = 0.0
    over_cpu_since_s: float | None = None
    probed_s: float = 0.0
    failed_probes: int = 0
    probe_said: str = ""
    log_held_s: float = 0.0
    log_dropped: float = 0.0
    log_told_s: float = field(default=-_HELD_TOLD_EVERY_S)


class Care:
    """The rounds over one supervisor's processes. ``measured`` holds what was seen last."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.measured: dict[str, dict[str, float]] = {}
        self._supervisor = supervisor
        self._notes: dict[str, _Notes] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._foreign_s = 0.0

    async def keep_on(self) -> None:
        """Look, again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Make one round. A fault with one process is told, and the others are looked after."""
        now_s = time.monotonic()
        for process in list(self._supervisor.processes.values()):
            try:
                self._look_after(process, now_s)
            except Exception as fault:  # noqa: BLE001 - the watch over the others must go on
                self._supervisor.told(
                    process.spec.name, "can't be looked after", f"{type(fault).__name__}: {fault}"
                )
        if now_s - self._foreign_s >= FOREIGN_S:
            self._foreign_s = now_s
            for observed in self._supervisor.foreign.values():
                observed.look()
        self._look_at_logs(now_s)
        self._supervisor.family.reap()

    def forget(self, name: str) -> None:
        """Forget a process that is not supervised any more."""
        for kept in (self.measured, self._notes):
            kept.pop(name, None)

    def _look_after(self, process: Supervised, now_s: float) -> None:
        name, pid = process.spec.name, process.pid
        if pid is None or name in self._busy:
            return
        notes = self._notes.setdefault(name, _Notes())
        if notes.pid != pid:
            self._notes[name] = notes = _Notes(pid, log_told_s=notes.log_told_s)
        kin = family.look(pid)
        if kin is None:
            return
        limit = process.spec.processes_limit
        tree = self._supervisor.family.tree(pid, name, most=limit or 1000)
        if limit and len(tree) + 1 > limit:
            process.kill(f"its tree has more than {limit} processes, as limits.processes allows")
            return
        cpu_ratio = (kin.cpu_s - notes.cpu_s) / (now_s - notes.at_s) if notes.at_s else 0.0
        notes.cpu_s, notes.at_s = kin.cpu_s, now_s
        self.measured[name] = {
            "rss_bytes": float(kin.rss_bytes),
            "cpu_ratio": round(cpu_ratio, 3),
            "processes": len(tree) + 1.0,
        }
        if process.state != "ready":
            notes.ready_s = 0.0
            return
        notes.ready_s = notes.ready_s or now_s
        if over := self._over_limits(process, kin.rss_bytes, cpu_ratio, notes, now_s):
            self._act(name, process.restart(over))
        elif process.spec.liveness:
            self._look_for_life(process, process.spec.liveness, notes, now_s)

    def _over_limits(
        self, process: Supervised, rss_bytes: int, cpu_ratio: float, notes: _Notes, now_s: float
    ) -> str:
        limit_bytes, cores = process.spec.memory_limit_bytes, process.spec.cpu_limit
        # RSS may be others' too: forks share what none of them changes.
        if limit_bytes and rss_bytes > limit_bytes and (own := _own_bytes(process)) > limit_bytes:
            return f"used {units.show_bytes(own)}, limit {units.show_bytes(limit_bytes)}"
        if not cores or cpu_ratio <= cores:
            notes.over_cpu_since_s = None
            return ""
        notes.over_cpu_since_s = notes.over_cpu_since_s or now_s
        if now_s - notes.over_cpu_since_s < CPU_FOR_S:
            return ""
        return f"used {cpu_ratio:.2f} cores, limit {cores:g} cores for {CPU_FOR_S:.0f} s"

    def _look_for_life(
        self, process: Supervised, policy: liveness.Liveness, notes: _Notes, now_s: float
    ) -> None:
        name = process.spec.name
        frame = self._supervisor.frames.get(name)
        heard_s = max(notes.ready_s, self._supervisor.heard_s.get(name, 0.0))
        fresh = frame is not None and frame.pid == process.pid
        seen = liveness.Seen(
            heard_s_ago=now_s - heard_s,
            loop_lag_s=frame.loop_lag_s if fresh and frame else None,
            failed_probes=notes.failed_probes,
            probe_said=notes.probe_said,
        )
        if why := liveness.judge(policy, seen):
            # Asking it to stop would be asking somebody who does not answer.
            process.kill(why)
        elif policy.probe and now_s - notes.probed_s >= policy.probe_every_s:
            notes.probed_s = now_s
            self._act(name, self._probe(policy, notes))

    @staticmethod
    async def _probe(policy: liveness.Liveness, notes: _Notes) -> None:
        assert policy.probe is not None
        notes.probe_said = await asyncio.to_thread(policy.probe)
        notes.failed_probes = notes.failed_probes + 1 if notes.probe_said else 0

    def _act(self, name: str, what: Coroutine[Any, Any, None]) -> None:
        self._busy[name] = task = asyncio.ensure_future(what)
        task.add_done_callback(lambda _: self._busy.pop(name, None))

    def _look_at_logs(self, now_s: float) -> None:
        """Tell of bots that wait for their log, and of output that was lost."""
        for name, (_, dropped, held_s) in self._supervisor.pipes.told().items():
            notes = self._notes.get(name)
            if notes is None or now_s - notes.log_told_s < _HELD_TOLD_EVERY_S:
                continue
            if held_s > notes.log_held_s or dropped > notes.log_dropped:
                held, lost = held_s - notes.log_held_s, dropped - notes.log_dropped
                notes.log_told_s = now_s
                words = [f"writes faster than [logs] rate and had to wait {held:.1f} s"] * (
                    held > 0
                )
                words += [f"{units.show_bytes(lost)} could not be written (disk?)"] * (lost > 0)
                self._supervisor.told(name, "floods its log", "; ".join(words))
            notes.log_held_s, notes.log_dropped = held_s, dropped


def _own_bytes(process: Supervised) -> int:
    """Return a process's memory, with its part of what it shares; 0 when it is gone."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(process.pid).memory_full_info().pss)
    return 0
