"""How full the machine's real file systems are.

Only those on a disk of this machine are looked at: to ask a network file system whose server is
away blocks for as long as it is away, and the rest lives in memory. A disk that is mounted in
several places, as in containers, counts once, under the shortest path.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_MOUNTS = 16
# File systems that name a pool, not a device.
_POOLED = frozenset({"zfs", "bcachefs"})
# Always full by their nature, and nobody's concern.
_FIXED = frozenset({"squashfs", "iso9660", "erofs"})
_ODD = re.compile(r"[^A-Za-z0-9]+")


class Room(NamedTuple):
    """How full a file system is. ``inodes_used_ratio`` is None where there is no limit of them."""

    used_ratio: float
    free_bytes: float
    inodes_used_ratio: float | None


def real(mounts: bytes) -> dict[str, str]:
    r"""Return ``name -> path`` of the file systems on disks, from /proc/self/mounts.

    >>> real(b"/dev/vda / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/vdb /my\\040data xfs rw 0 0")
    {'root': '/', 'my_data': '/my data'}
    """
    by_device: dict[str, str] = {}
    for line in mounts.decode("utf-8", "surrogateescape").splitlines():
        device, path, kind, *_ = line.split(" ")
        if kind in _FIXED or not (device.startswith("/dev/") or kind in _POOLED or path == "/"):
            continue
        path = re.sub(r"\\([0-7]{3})", lambda sign: chr(int(sign[1], 8)), path)
        held = by_device.get(device)
        if held is None or len(path) < len(held):
            by_device[device] = path
    found: dict[str, str] = {}
    for path in sorted(by_device.values(), key=lambda path: (len(path), path))[:MOST_MOUNTS]:
        found.setdefault(_ODD.sub("_", path).strip("_").lower() or "root", path)
    return found


def room(path: str, *, ask: Callable[[str], os.statvfs_result] = os.statvfs) -> Room:
    """Return how full the file system at a path is. Raises OSError when it can't be asked.

    What is kept for root counts as used, as ``df`` shows it.
    """
    found = ask(path)
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    used = (found.f_blocks - found.f_bfree) / usable if usable else 0.0
    inodes = round(1 - found.f_ffree / found.f_files, 4) if found.f_files else None
    # Whole mebibytes: what changes below that is noise.
    free_bytes = float(found.f_bavail * found.f_frsize >> 20 << 20)
    return Room(round(used, 4), free_bytes, inodes)
