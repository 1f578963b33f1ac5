"""What a supervisor leaves behind for the one after it: who runs, and what was wanted of whom.

One small file, replaced whole after each change, holds pid and birth of every process: together
they name a process and never another that was given its number. A pid means nothing after the host
was started anew, so the host's boot is written down too. The file is a help and no truth: what
it says is checked against the kernel, and a process that it does not name is found by its mark.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from outrider.supervisor import family

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = "processes.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Record(msgspec.Struct, omit_defaults=True):
    """One process as its supervisor last knew it. Times are seconds since 1970."""

    name: str
    bot: str
    kind: str
    state: str
    reason: str = ""
    pid: int | None = None
    born: int = 0
    began_s: float = 0.0
    since_s: float = 0.0
    start_s: float | None = None
    restarts: int = 0
    crashes: int = 0
    restarted_s: list[float] = []
    in_a_row: int = 0
    how: str = ""
    digest: str = ""
    memory_limit_bytes: int | None = None


class _Whole(msgspec.Struct):
    boot: str
    records: list[Record]


def save(folder: Path, records: Iterable[Record]) -> None:
    """Replace the file. Raises OSError."""
    path = folder / FILE
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(msgspec.json.encode(_Whole(_boot_id(), list(records))))
    fresh.replace(path)


def load(folder: Path) -> dict[str, Record]:
    """Return what the supervisor before us knew; pids only of processes that are still those."""
    try:
        whole = msgspec.json.decode((folder / FILE).read_bytes(), type=_Whole)
    except (OSError, msgspec.MsgspecError):
        return {}
    same_boot = whole.boot == _boot_id()
    for record in whole.records:
        kin = family.look(record.pid) if record.pid and same_boot else None
        if kin is None or kin.born != record.born or kin.state == "Z":
            record.pid = None
    return {record.name: record for record in whole.records}


def held(record: Record) -> int | None:
    """Return a pidfd of a record's process; None when it ended in the meantime."""
    if record.pid is None:
        return None
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(record.pid)
        # Looked at again: the pid might have been given away before we held it.
        kin = family.look(record.pid)
        if kin and kin.born == record.born:
            return pidfd
        os.close(pidfd)
    return None


def clear(folder: Path) -> None:
    """Take the file away: everything was stopped, and nothing is left to adopt."""
    (folder / FILE).unlink(missing_ok=True)


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return ""
