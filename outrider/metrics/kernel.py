"""What the kernel says of the whole machine in /proc, read out of its texts.

psutil opens and parses a file for each thing asked, some of them (``/proc/stat``) again for each
call: one look at the machine cost 2 ms so. Here each file is read once, and these functions, which
know nothing of time or of where a text came from, take out what an operator asks for. Names are
those of the series, without ``host.``; a text that lacks something leaves it out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SECTOR_BYTES = 512  # /proc/diskstats counts in these, whatever the device's own are
MOST_CORES = 64
# Disks that are others' doubles (partitions, RAM, loops) would count every byte twice.
_PARTS = re.compile(r"(loop|ram|zram|sr|fd|dm-|md)\d+|(sd|hd|vd|xvd)[a-z]+\d+|(nvme|mmcblk).*p\d+")
# What enters here leaves through a real interface too, or never leaves the machine.
_VIRTUAL = re.compile(r"lo|(veth|br-|docker|virbr|cni|flannel|cali|ifb|dummy|tap|podman).*")
_PRESSURE = re.compile(rb"(some|full) avg10=([\d.]+) .*total=(\d+)")


class Cpu(NamedTuple):
    """Ticks of one core, or of all, since the machine started."""

    user: int
    system: int
    iowait: int
    steal: int
    idle: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


class Disk(NamedTuple):
    """What all disks did since the machine started; ``busy_ms`` has one number a disk."""

    reads: int
    writes: int
    read_bytes: int
    write_bytes: int
    waited_ms: int
    busy_ms: dict[str, int]


def cpus(stat: bytes) -> list[Cpu]:
    r"""Return the ticks of all cores together, then those of each, from /proc/stat.

    >>> cpus(b"cpu  10 2 3 80 5 1 1 0 0 0\ncpu0 10 2 3 80 5 1 1 0 0 0\nintr 5")[0]
    Cpu(user=12, system=5, iowait=5, steal=0, idle=80)
    """
    found = []
    for line in stat.partition(b"\nintr")[0].split(b"\n"):
        if not line.startswith(b"cpu"):
            break
        # Guest time stands in user time already.
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
        found.append(Cpu(user + nice, system + irq + softirq, iowait, steal, idle))
    return found


def shares(before: Cpu, now: Cpu) -> dict[str, float]:
    """Return what part of the time between two looks went where.

    >>> shares(Cpu(0, 0, 0, 0, 0), Cpu(30, 10, 5, 5, 50))["used_ratio"]
    0.45

    iowait may run backwards (proc(5)); less than nothing is nothing.
    """
    user, system, iowait, steal, idle = (
        max(0, new - old) for new, old in zip(now, before, strict=True)
    )
    total = user + system + iowait + steal + idle or 1
    return {
        "used_ratio": round((user + system + steal) / total, 4),
        "user_ratio": round(user / total, 4),
        "system_ratio": round(system / total, 4),
        "iowait_ratio": round(iowait / total, 4),
        "steal_ratio": round(steal / total, 4),
    }


def activity(stat: bytes) -> dict[str, float]:
    """Return what else /proc/stat has: processes, context switches, when the machine started."""
    lines = dict(_pairs(stat[stat.find(b"\nctxt") + 1 :], b" ", until=b"softirq"))
    names = {
        b"ctxt": "switches_total",
        b"processes": "processes.forks_total",
        b"procs_running": "processes.running",
        b"procs_blocked": "processes.blocked",
        b"btime": "boot_at_s",
    }
    return {name: float(lines[key]) for key, name in names.items() if key in lines}


def load(loadavg: bytes) -> dict[str, float]:
    """Return load averages and the number of threads.

    >>> load(b"0.58 0.52 0.30 1/159 10620")
    {'load.1m': 0.58, 'load.5m': 0.52, 'load.15m': 0.3, 'threads': 159.0}
    """
    one, five, fifteen, threads, _ = loadavg.split()
    return {
        "load.1m": float(one),
        "load.5m": float(five),
        "load.15m": float(fifteen),
        "threads": float(threads.partition(b"/")[2]),
    }


def memory(meminfo: bytes) -> dict[str, float]:
    """Return memory and swap from /proc/meminfo."""
    kib = dict(_pairs(meminfo, b":", until=b"HugePages"))
    total, swap = kib.get(b"MemTotal", 0), kib.get(b"SwapTotal", 0)
    # Kernels before 3.14, and some containers, do not estimate it.
    available = min(total, kib.get(b"MemAvailable", kib.get(b"MemFree", 0)))
    cached = kib.get(b"Buffers", 0) + kib.get(b"Cached", 0) + kib.get(b"SReclaimable", 0)
    dirty = kib.get(b"Dirty", 0) + kib.get(b"Writeback", 0)
    swap_used = swap - kib.get(b"SwapFree", 0)
    return {
        "memory.used_ratio": round((total - available) / total, 4) if total else 0.0,
        "memory.total_bytes": float(total * 1024),
        "memory.available_bytes": float(available * 1024),
        "memory.cached_bytes": float(cached * 1024),
        "memory.dirty_bytes": float(dirty * 1024),
        "swap.used_ratio": round(swap_used / swap, 4) if swap else 0.0,
        "swap.used_bytes": float(swap_used * 1024),
    }


def paging(vmstat: bytes, page_bytes: int) -> dict[str, float]:
    r"""Return what went to swap and came back, pages read from disk, and kills for want of memory.

    >>> paging(b"pswpin 2\npswpout 3\npgmajfault 7\noom_kill 1\n", 4096)["swap.out_bytes_total"]
    12288.0
    """
    names = (
        (b"\npswpin ", "swap.in_bytes_total", page_bytes),
        (b"\npswpout ", "swap.out_bytes_total", page_bytes),
        (b"\npgmajfault ", "memory.major_faults_total", 1),
        (b"\noom_kill ", "memory.oom_kills_total", 1),
    )
    text, found = b"\n" + vmstat, {}
    for key, name, unit in names:
        place = text.find(key)
        if place >= 0:
            number = text[place + len(key) : text.find(b"\n", place + 1)]
            found[name] = float(int(number) * unit)
    return found


def disk(diskstats: bytes) -> Disk:
    """Return what whole disks did; partitions and what lies on top of disks is left out."""
    reads = writes = read_sectors = written_sectors = waited_ms = 0
    busy_ms = {}
    for line in diskstats.splitlines():
        parts = line.split()
        name = parts[2].decode("utf-8", "replace")
        if parts[3] == parts[7] == b"0" or _PARTS.fullmatch(name):
            continue
        reads += int(parts[3])
        writes += int(parts[7])
        read_sectors += int(parts[5])
        written_sectors += int(parts[9])
        waited_ms += int(parts[6]) + int(parts[10])
        busy_ms[name] = int(parts[12])
    read_bytes, written_bytes = read_sectors * SECTOR_BYTES, written_sectors * SECTOR_BYTES
    return Disk(reads, writes, read_bytes, written_bytes, waited_ms, busy_ms)


def network(dev: bytes) -> dict[str, float]:
    """Return what real interfaces carried and lost, from /proc/net/dev."""
    received = sent = errors = drops = 0
    for line in dev.splitlines()[2:]:
        name, _, numbers = line.partition(b":")
        if _VIRTUAL.fullmatch(name.strip().decode("utf-8", "replace")):
            continue
        found = [int(number) for number in numbers.split()]
        received, sent = received + found[0], sent + found[8]
        errors, drops = errors + found[2] + found[10], drops + found[3] + found[11]
    return {
        "net.sent_bytes_total": float(sent),
        "net.received_bytes_total": float(received),
        "net.errors_total": float(errors),
        "net.drops_total": float(drops),
    }


def tcp(snmp: bytes) -> dict[str, float]:
    """Return open TCP connections and segments that had to be sent again, from /proc/net/snmp."""
    lines = [line.split() for line in snmp.splitlines() if line.startswith(b"Tcp:")]
    if len(lines) < 2:  # noqa: PLR2004 - a line of names, a line of numbers
        return {}
    found = dict(zip(*lines, strict=False))
    names = {b"CurrEstab": "net.tcp_connections", b"RetransSegs": "net.tcp_retransmits_total"}
    return {name: float(found[key]) for key, name in names.items() if key in found}


def files(file_nr: bytes) -> dict[str, float]:
    r"""Return open files of the whole machine, from /proc/sys/fs/file-nr.

    >>> files(b"1609\t0\t16090\n")
    {'files.open': 1609.0, 'files.used_ratio': 0.1}
    """
    used, _, most = (int(number) for number in file_nr.split())
    return {"files.open": float(used), "files.used_ratio": round(used / most, 4) if most else 0.0}


def pressure(resource: str, text: bytes) -> dict[str, float]:
    r"""Return how much work waited for a resource: some of it, or all of it.

    >>> pressure("io", b"some avg10=12.50 avg60=1.00 avg300=0.00 total=2500000\n")
    {'pressure.io.some_ratio': 0.125, 'pressure.io.some_seconds_total': 2.5}
    """
    found = {}
    for kind, average, total_us in _PRESSURE.findall(text):
        name = f"pressure.{resource}.{kind.decode()}"
        found[f"{name}_ratio"] = round(float(average) / 100, 4)
        found[f"{name}_seconds_total"] = round(int(total_us) / 1e6, 3)
    return found


def _pairs(text: bytes, sign: bytes, *, until: bytes) -> list[tuple[bytes, int]]:
    """Return the lines of ``name SIGN number`` up to one that begins with ``until``."""
    found = []
    for line in text.split(b"\n"):
        if line.startswith(until):
            break
        name, _, number = line.partition(sign)
        if number:
            found.append((name, int(number.split(None, 1)[0])))
    return found
