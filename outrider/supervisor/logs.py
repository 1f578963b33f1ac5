"""Captured output: each process writes to its own file, which is rotated in place.

Children hold the file open themselves (append mode), so no byte passes through the supervisor and
nothing is lost when it dies. Rotation copies and truncates, as the child can't be told to reopen.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 10 * 1024 * 1024
KEPT = 3
_TAIL_BLOCK = 64 * 1024


def path_of(folder: Path, name: str) -> Path:
    """Return the log file of a process."""
    return folder / f"{name}.log"


def open_for(folder: Path, name: str) -> int:
    """Return a descriptor that a child may write to; the file is private to its owner."""
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(path_of(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def rotate(path: Path, *, most_bytes: int = MOST_BYTES, kept: int = KEPT) -> bool:
    """Move a log that grew too large to ``.1``, older ones up to ``.kept``. Tell whether it did."""
    try:
        if path.stat().st_size <= most_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    shutil.copy(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log, at most 64 KiB of it; nothing when there is none yet."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BLOCK))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []
