"""The machine itself, read with psutil: CPU, memory, swap, disk, network, pressure."""

from __future__ import annotations

from pathlib import Path

import psutil

_PRESSURE = Path("/proc/pressure")


class HostCollector:
    """Collects ``host.*``. Ratios are 0 to 1; counters only grow until the machine restarts."""

    def __init__(self, *, disk: str = "/") -> None:
        self._disk = disk
        psutil.cpu_percent(interval=None)  # the first call only sets the point to measure from

    def collect(self, now_s: float) -> dict[str, float]:
        """Return the machine's values; CPU is the share since the last call."""
        del now_s
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        load_1m, load_5m, _ = psutil.getloadavg()
        values = {
            "host.cpu.used_ratio": psutil.cpu_percent(interval=None) / 100,
            "host.cpu.cores": float(psutil.cpu_count() or 1),
            "host.load.1m": load_1m,
            "host.load.5m": load_5m,
            "host.memory.used_ratio": memory.percent / 100,
            "host.memory.available_bytes": float(memory.available),
            "host.swap.used_ratio": swap.percent / 100,
            "host.disk.used_ratio": psutil.disk_usage(self._disk).percent / 100,
        }
        if disk := psutil.disk_io_counters():
            values["host.disk.read_bytes"] = float(disk.read_bytes)
            values["host.disk.write_bytes"] = float(disk.write_bytes)
        if net := psutil.net_io_counters():
            values["host.net.sent_bytes"] = float(net.bytes_sent)
            values["host.net.received_bytes"] = float(net.bytes_recv)
        return values | _pressure()


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
