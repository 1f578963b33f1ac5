"""The machine itself: CPU, memory, swap, disk, network, pressure, open files.

Read from /proc, each file once a look (see ``kernel``); where there is none, psutil tells what it
can. Descriptors are not kept: these are ten files, and a look costs some 0.3 ms of CPU.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from outrider.metrics import kernel, mounts
from outrider.metrics.kernel import Cpu

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.metrics.kernel import Disk

PROC = Path("/proc")
_PRESSED = ("cpu", "memory", "io")
_AT_ONCE_BYTES = 1 << 15  # more only /proc/stat of a large machine: a number for each interrupt


class HostCollector:
    """Collects ``host.*``. Ratios are 0 to 1; counters only grow until the machine restarts."""

    def __init__(self, *, disk: str = "/", proc: Path = PROC) -> None:
        self._disk = disk
        self._proc = proc
        self._has_kernel = bool(kernel.cpus(self._read("stat")))
        self._cpus = kernel.cpus(self._read("stat")) or [_psutil_cpu()]
        self._io: tuple[float, Disk] | None = None

    def collect(self, now_s: float) -> dict[str, float]:
        """Return the machine's values; CPU, and how busy disks were, since the last call."""
        found = self._from_kernel(now_s) if self._has_kernel else self._from_psutil()
        with contextlib.suppress(OSError):
            found["disk.used_ratio"] = mounts.room(self._disk).used_ratio
        return {f"host.{name}": value for name, value in found.items()}

    def _from_kernel(self, now_s: float) -> dict[str, float]:
        stat = self._read("stat")
        values = self._cpu(kernel.cpus(stat)) | kernel.activity(stat)
        for name, parse in (
            ("loadavg", kernel.load),
            ("meminfo", kernel.memory),
            ("net/dev", kernel.network),
            ("net/snmp", kernel.tcp),
            ("sys/fs/file-nr", kernel.files),
        ):
            if text := self._read(name):
                values |= parse(text)
        values |= kernel.paging(self._read("vmstat"), os.sysconf("SC_PAGE_SIZE"))
        for resource in _PRESSED:
            values |= kernel.pressure(resource, self._read(f"pressure/{resource}"))
        if text := self._read("diskstats"):
            values |= self._disks(kernel.disk(text), now_s)
        return values | dict(_rooms(self._read("self/mounts")))

    def _from_psutil(self) -> dict[str, float]:
        before, self._cpus = self._cpus, [_psutil_cpu()]
        used = kernel.shares(before[0], self._cpus[0])
        return {f"cpu.{n}": v for n, v in used.items()} | _psutil_values()

    def _cpu(self, now: list[Cpu]) -> dict[str, float]:
        before, self._cpus = self._cpus, now
        values = {"cpu.cores": float(len(now) - 1)}
        values |= {f"cpu.{n}": v for n, v in kernel.shares(before[0], now[0]).items()}
        if len(before) == len(now):  # else a core was taken away or added
            pairs = zip(before[1 : kernel.MOST_CORES + 1], now[1:], strict=False)
            for core, (old, new) in enumerate(pairs):
                values[f"cpu.core.{core}.used_ratio"] = kernel.shares(old, new)["used_ratio"]
        return values

    def _disks(self, now: Disk, now_s: float) -> dict[str, float]:
        values = {
            "disk.read_bytes_total": float(now.read_bytes),
            "disk.write_bytes_total": float(now.write_bytes),
            "disk.reads_total": float(now.reads),
            "disk.writes_total": float(now.writes),
        }
        if self._io is not None and now_s > self._io[0]:
            passed_ms, before = (now_s - self._io[0]) * 1000, self._io[1]
            busy = [ms - before.busy_ms.get(name, ms) for name, ms in now.busy_ms.items()]
            values["disk.busy_ratio"] = round(min(1.0, max([0, *busy]) / passed_ms), 4)
            done = now.reads + now.writes - before.reads - before.writes
            waited_ms = max(0, now.waited_ms - before.waited_ms)
            values["disk.latency_s"] = round(waited_ms / done / 1000, 5) if done > 0 else 0.0
        self._io = now_s, now
        return values

    def _read(self, name: str) -> bytes:
        """Return a file of /proc; nothing when this kernel has none, or keeps it from us."""
        try:
            descriptor = os.open(f"{self._proc}/{name}", os.O_RDONLY)
        except OSError:
            return b""
        try:
            return _whole(descriptor)
        except OSError:  # pressure can be switched off: then it opens and can't be read
            return b""
        finally:
            os.close(descriptor)


def _whole(descriptor: int) -> bytes:
    text = os.read(descriptor, _AT_ONCE_BYTES)
    while more := os.read(descriptor, _AT_ONCE_BYTES):
        text += more
    return text


def _rooms(table: bytes) -> Iterator[tuple[str, float]]:
    for name, path in mounts.real(table).items():
        try:
            found = mounts.room(path)
        except OSError:  # another's mount, closed to us
            continue
        yield f"mount.{name}.used_ratio", found.used_ratio
        yield f"mount.{name}.free_bytes", found.free_bytes
        if found.inodes_used_ratio is not None:
            yield f"mount.{name}.inodes_used_ratio", found.inodes_used_ratio


def _psutil_cpu() -> Cpu:
    """Return what psutil.cpu_percent would compare; that keeps the last look for each thread."""
    times = psutil.cpu_times()
    iowait, steal = getattr(times, "iowait", 0.0), getattr(times, "steal", 0.0)
    system = times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    user = times.user + getattr(times, "nice", 0.0)
    return Cpu(*(round(s * 100) for s in (user, system, iowait, steal, times.idle)))


def _psutil_values() -> dict[str, float]:
    """Return what every system has."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    load_1m, load_5m, load_15m = psutil.getloadavg()
    values = {
        "cpu.cores": float(psutil.cpu_count() or 1),
        "load.1m": round(load_1m, 2),
        "load.5m": round(load_5m, 2),
        "load.15m": round(load_15m, 2),
        "memory.used_ratio": round(memory.percent / 100, 4),
        "memory.total_bytes": float(memory.total),
        "memory.available_bytes": float(memory.available),
        "swap.used_ratio": round(swap.percent / 100, 4),
        "swap.used_bytes": float(swap.used),
        "boot_at_s": float(round(psutil.boot_time())),
    }
    if disk := psutil.disk_io_counters():
        values["disk.read_bytes_total"] = float(disk.read_bytes)
        values["disk.write_bytes_total"] = float(disk.write_bytes)
    if net := psutil.net_io_counters():
        values["net.sent_bytes_total"] = float(net.bytes_sent)
        values["net.received_bytes_total"] = float(net.bytes_recv)
    return values
