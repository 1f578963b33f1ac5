"""One process of the fleet, read with psutil.

A psutil.Process remembers the start time of its pid, so that a pid which was given to another
program is noticed and read as gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(slots=True)
class _Seen:
    process: psutil.Process
    cpu_s: float
    at_s: float


class ProcessCollector:
    """Collects ``bot.NAME.*`` for processes given by name and pid."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def collect(self, pids: dict[str, int | None], now_s: float) -> dict[str, float]:
        """Return values for each process; one that is gone has ``up`` 0 and nothing else."""
        values: dict[str, float] = {}
        for name, pid in pids.items():
            sample = self._sample(name, pid, now_s)
            values[f"bot.{name}.up"] = float(bool(sample))
            values.update((f"bot.{name}.{what}", number) for what, number in sample.items())
        for name in self._seen.keys() - pids.keys():
            del self._seen[name]
        return values

    def _sample(self, name: str, pid: int | None, now_s: float) -> dict[str, float]:
        seen = self._seen.get(name)
        try:
            if pid is None:
                raise psutil.NoSuchProcess(0)
            if seen is not None and seen.process.pid == pid and not seen.process.is_running():
                raise psutil.NoSuchProcess(pid)
            if seen is None or seen.process.pid != pid:
                seen = self._seen[name] = _Seen(psutil.Process(pid), 0.0, 0.0)
            process = seen.process
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    raise psutil.ZombieProcess(pid)
                cpu = process.cpu_times()
                sample = {
                    "cpu_seconds": cpu.user + cpu.system,
                    "rss_bytes": float(process.memory_info().rss),
                    "threads": float(process.num_threads()),
                    "uptime_s": max(0.0, now_s - process.create_time()),
                }
            sample |= _descriptors(process)
        except psutil.Error:
            self._seen.pop(name, None)
            return {}
        if seen.at_s and now_s > seen.at_s:
            sample["cpu_ratio"] = max(0.0, sample["cpu_seconds"] - seen.cpu_s) / (now_s - seen.at_s)
        seen.cpu_s, seen.at_s = sample["cpu_seconds"], now_s
        return sample


def _descriptors(process: psutil.Process) -> dict[str, float]:
    """Return the open descriptors; another user's may not be counted, and are left out."""
    try:
        return {"fds": float(process.num_fds())}
    except psutil.AccessDenied:
        return {}
