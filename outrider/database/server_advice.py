"""What a running server should be set to: PGTune's rules beside what it has, and what that takes.

Each advice says whether a reload is enough or the server must restart; both are read from the
server itself (``pg_settings``), as are the values its build can take. Nothing is changed here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import pgtune
from outrider.database import server as servers
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDEST_MAJOR = 13
# Contexts in which a reload is enough; "backend" ones reach new connections only.
_BY_RELOAD = frozenset({"user", "superuser", "sighup", "backend", "superuser-backend"})
# A database within a quarter of memory's size is neither clearly smaller nor larger.
_CLEARLY = 1.25
_UNITS = {"B": 1, "kB": 1 << 10, "8kB": 8 << 10, "16kB": 16 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SAME_WITHIN = 0.02

_SETTINGS = sa.text("""
SELECT name, setting, unit, context, source, boot_val, enumvals, max_val, pending_restart
FROM pg_settings WHERE name = ANY(:names)
""")
_FACTS = sa.text("""
SELECT version() AS version, pg_is_in_recovery() AS in_recovery,
  current_setting('server_version_num')::int / 10000 AS major,
  pg_database_size(current_database()) AS size_bytes
""")

# Setting -> why, and what it costs.
_WHY: Mapping[str, tuple[str, str]] = {
    "shared_buffers": ("pages kept by the server itself", "memory taken at the start"),
    "effective_cache_size": ("tells the planner what the page cache holds", "none: no memory"),
    "maintenance_work_mem": ("VACUUM and CREATE INDEX in fewer passes", "memory while they run"),
    "checkpoint_completion_target": ("spreads the writes of a checkpoint", "none"),
    "wal_buffers": ("log that waits for its write", "memory taken at the start"),
    "default_statistics_target": ("finer statistics for the planner", "slower ANALYZE"),
    "random_page_cost": ("what a jump costs on this storage", "plans change: watch them"),
    "effective_io_concurrency": ("pages fetched ahead in bitmap scans", "more reads at once"),
    "work_mem": ("sorts and hashes that do not spill to disk", "memory, per sort and session"),
    "huge_pages": ("fewer page table entries for large buffers", "the kernel must grant them"),
    "min_wal_size": ("log files that are used again", "disk"),
    "max_wal_size": ("fewer checkpoints under writes", "disk, and a longer recovery"),
    "max_worker_processes": ("room for parallel workers", "processes"),
    "max_parallel_workers_per_gather": ("more workers in one large query", "CPU of the others"),
    "max_parallel_workers": ("room for parallel workers", "CPU of the others"),
    "max_parallel_maintenance_workers": ("CREATE INDEX in parallel", "CPU while it runs"),
    "jit": ("short queries are not compiled", "long analytical ones are slower"),
    "wal_compression": ("less log to write and send", "some CPU a page"),
    "autovacuum_max_workers": ("vacuum keeps up on many cores", "more reads at once"),
    "autovacuum_work_mem": ("bounds the memory of each autovacuum worker", "none"),
    "io_workers": ("more processes that read ahead", "processes"),
    "io_method": ("how the server reads ahead", "none where the kernel has it"),
}
NAMES = (*_WHY, "synchronous_commit")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of ``pg_settings``."""

    name: str
    setting: str
    unit: str | None
    context: str
    source: str
    boot_val: str | None = None
    enumvals: list[str] | None = None
    max_val: str | None = None
    pending_restart: bool = False

    @property
    def needs_restart(self) -> bool:
        """Tell whether a new value waits for a restart."""
        return self.context not in _BY_RELOAD

    def is_set_to(self, wanted: str) -> bool:
        """Tell whether it has a value, whatever the units."""
        return _same(self, wanted)

    def shown(self) -> str:
        """Return the value with its unit, as ALTER SYSTEM takes it.

        >>> Setting("work_mem", "4096", "kB", "user", "default").shown()
        '4MB'
        """
        if self.unit in _UNITS and self.setting.isdigit():
            return _size(int(self.setting) * _UNITS[self.unit])
        return f"{self.setting}{self.unit or ''}"


@dataclass(frozen=True, slots=True)
class Advice:
    """One value to change. ``how`` is ``reload`` or ``restart``."""

    name: str
    now: str
    wanted: str
    how: str
    why: str
    cost: str
    context: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself, for the rules."""

    major: int
    system: str
    size_bytes: int
    in_recovery: bool


def facts(connection: sa.Connection) -> Facts:
    """Return what the rules need of a server.

    Raises:
        BadArgument: it is older than what is supported.
    """
    found = connection.execute(_FACTS).mappings().one()
    if found["major"] < OLDEST_MAJOR:
        raise BadArgument(
            f"PostgreSQL {found['major']} is too old: {OLDEST_MAJOR} or later is supported, and"
            " its own developers support no version that old; upgrade it."
        )
    said = found["version"].lower()
    system = "windows" if "visual c++" in said or "mingw" in said else "linux"
    if "darwin" in said or "apple" in said:
        system = "mac"
    return Facts(found["major"], system, found["size_bytes"], found["in_recovery"])


def settings(connection: sa.Connection) -> dict[str, Setting]:
    """Return the settings that the rules know, as they are now."""
    names = [*NAMES, "max_connections"]
    rows = connection.execute(_SETTINGS, {"names": names}).mappings()
    return {row["name"]: Setting(**row) for row in rows}


def machine(
    found: Facts,
    url: sa.URL,
    *,
    connections: int,
    memory_bytes: int | None = None,
    cores: int | None = None,
    workload: str = "web",
    storage: str = "ssd",
) -> pgtune.Machine:
    """Return the machine of a server; memory and cores are this host's when it runs here.

    Raises:
        BadArgument: it runs elsewhere, and nobody said how much memory it has.
    """
    if is_local(url):
        import psutil

        memory_bytes = memory_bytes or int(psutil.virtual_memory().total)
        cores = cores or os.cpu_count()
    if memory_bytes is None:
        raise BadArgument(
            f"the memory of the server at {servers.shown(url)} can't be asked over SQL; say it with"
            " --memory 16GiB (and --cores 8), or [database] server_memory."
        )
    size = "similar"
    if found.size_bytes * _CLEARLY < memory_bytes:
        size = "smaller"
    elif found.size_bytes > memory_bytes * _CLEARLY:
        size = "larger"
    return pgtune.Machine(
        memory_bytes, version=found.major, workload=workload, cores=cores,
        connections=connections, system=found.system, storage=storage, size=size,
    )  # fmt: skip


def is_local(url: sa.URL) -> bool:
    """Tell whether a server runs on this host, as far as its address says.

    >>> is_local(sa.make_url("postgresql://bot@/fleet?host=/run/postgresql"))
    True
    """
    host = str(url.host or url.query.get("host") or "/")
    return host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}


def advise(wanted: pgtune.Machine, now: Mapping[str, Setting]) -> list[Advice]:
    """Return what the rules would change, those by reload first.

    ``max_connections`` is left as it is: the fleet's plan is made for it. A value that this
    server's build can't take is replaced by one that it can, or left out.
    """
    found = [
        Advice(
            name, setting.shown(), value, "restart" if setting.needs_restart else "reload",
            *_WHY[name], setting.context,
        )
        for name, rule in pgtune.settings(wanted).items()
        if name in _WHY
        and (setting := now.get(name))
        and (value := _possible(setting, rule)) is not None
        and not _same(setting, value)
    ]  # fmt: skip
    return sorted((replace(each, wanted=_plain(each.wanted)) for each in found), key=_reload_first)


def _reload_first(advice: Advice) -> bool:
    return advice.how != "reload"


def _possible(setting: Setting, wanted: str) -> str | None:
    if setting.enumvals is not None and wanted not in setting.enumvals:
        return "on" if setting.name == "wal_compression" and "on" in setting.enumvals else None
    if setting.max_val is not None and setting.unit is None and setting.enumvals is None:
        return wanted if float(wanted) <= float(setting.max_val) else None
    return wanted


def _same(setting: Setting, wanted: str) -> bool:
    ours, theirs = _number(setting.shown()), _number(wanted)
    if ours is None or theirs is None:
        return setting.setting == wanted
    return abs(ours - theirs) <= _SAME_WITHIN * max(abs(ours), abs(theirs))


def _plain(value: str) -> str:
    number = _number(value)
    return _size(int(number)) if number is not None and value.endswith("B") else value


def _number(text: str) -> float | None:
    digits = text.rstrip("kMGTB")
    unit = text[len(digits) :]
    try:
        return float(digits) * (_UNITS[unit] if unit else 1)
    except (ValueError, KeyError):
        return None


def _size(count_bytes: int) -> str:
    """Return a size in the largest unit that loses nothing.

    >>> _size(4 << 20), _size(1536 << 10)
    ('4MB', '1536kB')
    """
    for unit in ("GB", "MB", "kB"):
        if count_bytes and count_bytes % _UNITS[unit] == 0:
            return f"{count_bytes // _UNITS[unit]}{unit}"
    return f"{count_bytes}B"


def shown(advice: Advice) -> dict[str, Any]:
    """Return an advice as plain data."""
    return {name: getattr(advice, name) for name in Advice.__slots__}
