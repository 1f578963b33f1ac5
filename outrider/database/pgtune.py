"""PGTune's rules: what a PostgreSQL server should be set to, from its machine alone.

Reimplemented from the rules of le0pard/pgtune (MIT; its configurationSlice.js), with which it
agrees on each case that project publishes. The rules measure nothing: whether a value gains
anything on a database is for :mod:`outrider.database.trial` to find out.
"""

# ruff: noqa: PLR2004 - versions and numbers of cores, which their settings explain

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMS = ("linux", "windows", "mac")
STORAGE = ("ssd", "hdd", "san", "nvme")
# Smaller than memory, about as large, larger.
SIZES = ("smaller", "similar", "larger")
OLDEST, NEWEST = 10, 18

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
_MIB_KIB, _GIB_KIB = _MIB // _KIB, _GIB // _KIB
# Windows takes no more than 2 GB - 1 MB of memory in one setting up to this version.
_LAST_NARROW_WINDOWS = 17
_NARROW_KIB = 2 * _GIB_KIB - _MIB_KIB
_WORKERS = 8  # PostgreSQL's own max_worker_processes


@dataclass(frozen=True, slots=True)
class Workload:
    """What a kind of use asks for; WAL in MiB. Memory is divided by the ``*_part`` numbers."""

    connections: int
    shared_part: int
    cache_quarters: int
    maintenance_part: int
    work_part: int
    wal_mib: tuple[int, int]
    statistics: int = 100


WORKLOADS = {
    "web": Workload(200, 4, 3, 16, 1, (1024, 4096)),
    "oltp": Workload(300, 4, 3, 16, 1, (2048, 8192)),
    "dw": Workload(40, 4, 3, 8, 2, (4096, 16384), statistics=500),
    "desktop": Workload(20, 16, 1, 16, 6, (100, 2048)),
    "mixed": Workload(100, 4, 3, 16, 2, (1024, 4096)),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a server stands on and is used for. ``size`` compares the databases with memory."""

    memory_bytes: int
    version: int = NEWEST
    workload: str = "web"
    cores: int | None = None
    connections: int | None = None
    system: str = "linux"
    storage: str = "ssd"
    size: str = "similar"

    def __post_init__(self) -> None:
        for name, known in (
            ("workload", tuple(WORKLOADS)), ("system", SYSTEMS),
            ("storage", STORAGE), ("size", SIZES),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise BadArgument(
                    f"{name} = {getattr(self, name)!r}; choose one of {', '.join(known)}."
                )
        if self.memory_bytes < _MIB:
            raise BadArgument(f"memory of {self.memory_bytes} bytes; give at least 1 MiB.")
        if any(given is not None and given < 1 for given in (self.cores, self.connections)):
            raise BadArgument("cores and connections are 1 or more; leave out what is not known.")
        if self.version < OLDEST:
            raise BadArgument(f"PostgreSQL {self.version}: the rules begin with {OLDEST}; upgrade.")

    @property
    def is_narrow(self) -> bool:
        """Tell whether no setting of memory may exceed 2 GB - 1 MB."""
        return self.system == "windows" and self.version <= _LAST_NARROW_WINDOWS


def settings(machine: Machine) -> dict[str, str]:
    """Return each setting's value as ALTER SYSTEM takes it, in PGTune's order.

    >>> settings(Machine(4 << 30, version=15))["shared_buffers"]
    '1048576kB'
    """
    return dict(_settings(machine))


def warnings(machine: Machine) -> list[str]:
    """Return where the rules are known to be weak, or ask for a server built with more."""
    found = []
    if machine.memory_bytes < 256 * _MIB:
        found.append("the rules are not made for machines of less than 256 MiB")
    elif machine.memory_bytes > 100 * _GIB:
        found.append("the rules are not made for machines of more than 100 GiB")
    given = settings(machine)
    if given.get("wal_compression") == "lz4":
        found.append("wal_compression = lz4 asks for a server built --with-lz4")
    if given.get("io_method") == "io_uring":
        found.append("io_method = io_uring asks for a server built --with-liburing")
    if machine.workload == "dw" and machine.storage != "hdd" and machine.size != "smaller":
        found.append(
            "random_page_cost stays 4: a low one makes a warehouse that does not fit memory choose"
            " index scans for what it should read in order"
        )
    return found


def _settings(machine: Machine) -> Iterator[tuple[str, str]]:
    kind = WORKLOADS[machine.workload]
    memory_kib = machine.memory_bytes // _KIB
    shared, maintenance = memory_kib // kind.shared_part, _maintenance(machine, kind, memory_kib)
    workers = dict(_parallel(machine))
    yield "max_connections", str(machine.connections or kind.connections)
    yield "shared_buffers", f"{shared}kB"
    yield "effective_cache_size", f"{memory_kib * kind.cache_quarters // 4}kB"
    yield "maintenance_work_mem", f"{maintenance}kB"
    yield "checkpoint_completion_target", "0.9"
    yield "wal_buffers", f"{_wal_buffers(shared)}kB"
    yield "default_statistics_target", str(kind.statistics)
    yield "random_page_cost", _random_page_cost(machine)
    if machine.system == "linux":
        depth = {"hdd": 2, "ssd": 200, "san": 300, "nvme": 1000}[machine.storage]
        yield "effective_io_concurrency", str(depth)
    yield "work_mem", f"{_work_mem(machine, kind, memory_kib - shared, workers)}kB"
    huge = machine.system != "mac" and shared >= 2 * _GIB_KIB
    yield "huge_pages", "try" if huge else "off"
    least, most = kind.wal_mib
    yield "min_wal_size", f"{least}MB"
    yield "max_wal_size", f"{most}MB"
    for name, count in workers.items():
        yield name, str(count)
    if machine.workload == "desktop":
        yield "wal_level", "minimal"
        yield "max_wal_senders", "0"  # the server does not start with both
    yield from _by_version(machine, maintenance)


def _by_version(machine: Machine, maintenance_kib: int) -> Iterator[tuple[str, str]]:
    cores = machine.cores or 0
    # Compiling costs more than it saves on short queries.
    if machine.version >= 12 and machine.workload in {"web", "oltp", "mixed"}:
        yield "jit", "off"
    yield "wal_compression", "lz4" if machine.version >= 15 else "on"
    if cores >= 16:
        yield "autovacuum_max_workers", "5" if cores >= 32 else "4"
    # Several workers with maintenance_work_mem each would not fit.
    if maintenance_kib >= 2 * _GIB_KIB:
        yield "autovacuum_work_mem", f"{2 * _GIB_KIB}kB"
    if machine.version >= 18:
        if cores >= 16:
            yield "io_workers", str(min(32, cores // 4))
        yield "io_method", "io_uring" if machine.system == "linux" else "worker"


def _maintenance(machine: Machine, kind: Workload, memory_kib: int) -> int:
    most = _NARROW_KIB if machine.is_narrow else 8 * _GIB_KIB
    return min(most, memory_kib // kind.maintenance_part)


def _wal_buffers(shared_kib: int) -> int:
    wanted, most = shared_kib * 3 // 100, 16 * _MIB_KIB
    return most if wanted > 14 * _MIB_KIB else max(32, wanted)


def _random_page_cost(machine: Machine) -> str:
    if machine.size == "smaller":
        return "1.1"  # all of it is read from the page cache, whatever lies below
    return "4" if machine.storage == "hdd" or machine.workload == "dw" else "1.1"


def _parallel(machine: Machine) -> Iterator[tuple[str, int]]:
    cores = machine.cores or 0
    if cores < 4:
        return
    half = math.ceil(cores / 2)
    yield "max_worker_processes", cores
    yield "max_parallel_workers_per_gather", half if machine.workload == "dw" else min(4, half)
    yield "max_parallel_workers", cores
    if machine.version >= 11:
        yield "max_parallel_maintenance_workers", min(4, half)


def _work_mem(machine: Machine, kind: Workload, free_kib: int, workers: dict[str, int]) -> int:
    processes = (machine.connections or kind.connections) + workers.get(
        "max_worker_processes", _WORKERS
    )
    each = math.floor(free_kib / (processes * 3) / kind.work_part)
    each = math.floor(each * {"smaller": 1.3, "similar": 1.0, "larger": 0.9}[machine.size])
    each = max(4 * _MIB_KIB, each)
    return min(_NARROW_KIB, each) if machine.is_narrow else each
