"""What is read of a process at one moment, and what a reader of it must do.

There are two readers: ``procfs`` keeps descriptors of /proc open and costs a fifth of psutil,
``portable`` asks psutil, works wherever psutil does, and needs no descriptors.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from outrider.errors import OutriderError

# States as numbers, for a row holds nothing else. Letters are those of /proc/PID/stat.
RUNNING, SLEEPING, WAITING_FOR_DISK, STOPPED, ZOMBIE = 1.0, 2.0, 3.0, 4.0, 5.0
STATES = {
    b"R": RUNNING, b"S": SLEEPING, b"I": SLEEPING, b"D": WAITING_FOR_DISK,
    b"T": STOPPED, b"t": STOPPED, b"Z": ZOMBIE, b"X": ZOMBIE, b"x": ZOMBIE,
}  # fmt: skip


# Of a bot that forks, so many are read at each tick, at the price of a bot each.
MOST_DESCENDANTS = 32


class Gone(OutriderError):  # noqa: N818 - reads as the message it is
    """The process has ended, is hidden from us, or its pid belongs to another one now."""


class Reading(NamedTuple):
    """One process at one moment. Totals count since its start; None: not ours to read.

    The kernel counts context switches for the main thread only; the rest is of all threads.
    """

    state: float
    cpu_seconds: float
    rss_bytes: float
    threads: float
    fds: float | None
    io_read_bytes: float | None
    io_write_bytes: float | None
    switches_voluntary: float
    switches_involuntary: float


class Deep(NamedTuple):
    """What costs too much to be read each time. None: not ours to read, or not known here."""

    pss_bytes: float | None
    children: float | None


class Reader(Protocol):
    """Reads one process until it is gone. Not for two threads at once."""

    started_s: float

    def read(self) -> Reading:
        """Return what is cheap. Raises Gone."""
        ...

    def read_deep(self) -> Deep:
        """Return what is dear: some hundred microseconds, more for a large process. Raises Gone."""
        ...

    def descendants(self) -> list[int]:
        """Return the pids of its children and theirs; as dear as ``read_deep``. Raises Gone."""
        ...

    def close(self) -> None:
        """Give back what is held open. Safe to repeat."""
        ...
