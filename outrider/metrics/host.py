"""The machine itself, read with psutil: CPU, memory, swap, disk, network, pressure."""

from __future__ import annotations

from pathlib import Path

import psutil

_PRESSURE = Path("/proc/pressure")


class HostCollector:
    """Collects ``host.*``. Ratios are 0 to 1; counters only grow until the machine restarts."""

    def __init__(self, *, disk: str = "/") -> None:
        self._disk = disk
        self._busy_s, self._total_s = _cpu_seconds()

    def collect(self, now_s: float) -> dict[str, float]:
        """Return the machine's values; CPU is the share since the last call."""
        del now_s
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        load_1m, load_5m, _ = psutil.getloadavg()
        values = {
            "host.cpu.used_ratio": self._cpu_used_ratio(),
            "host.cpu.cores": float(psutil.cpu_count() or 1),
            "host.load.1m": load_1m,
            "host.load.5m": load_5m,
            "host.memory.used_ratio": memory.percent / 100,
            "host.memory.available_bytes": float(memory.available),
            "host.swap.used_ratio": swap.percent / 100,
            "host.disk.used_ratio": psutil.disk_usage(self._disk).percent / 100,
        }
        if disk := psutil.disk_io_counters():
            values["host.disk.read_bytes_total"] = float(disk.read_bytes)
            values["host.disk.write_bytes_total"] = float(disk.write_bytes)
        if net := psutil.net_io_counters():
            values["host.net.sent_bytes_total"] = float(net.bytes_sent)
            values["host.net.received_bytes_total"] = float(net.bytes_recv)
        return values | _pressure()

    def _cpu_used_ratio(self) -> float:
        """Return the busy share since the last call.

        psutil.cpu_percent would keep the last sample for each thread, and a pool's threads take
        turns.
        """
        busy_s, total_s = _cpu_seconds()
        passed_s, worked_s = total_s - self._total_s, busy_s - self._busy_s
        self._busy_s, self._total_s = busy_s, total_s
        return min(1.0, max(0.0, worked_s / passed_s)) if passed_s > 0 else 0.0


def _cpu_seconds() -> tuple[float, float]:
    """Return ``(busy, total)`` seconds of all cores since the machine started."""
    times = psutil.cpu_times()
    # Linux counts guest time in user time already.
    total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total_s - times.idle - getattr(times, "iowait", 0.0), total_s


def _pressure() -> dict[str, float]:
    """Return the share of the last 10 s in which work waited, where the kernel measures it."""
    values = {}
    for resource in ("cpu", "memory", "io"):
        try:
            first = (_PRESSURE / resource).read_text(encoding="ascii").split("\n", 1)[0]
        except OSError:
            continue
        average = first.split("avg10=", 1)[1].split(" ", 1)[0]
        values[f"host.pressure.{resource}.some_ratio"] = float(average) / 100
    return values
