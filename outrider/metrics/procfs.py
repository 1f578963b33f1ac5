"""Reads a process through descriptors of /proc/PID that stay open, and through its CPU clock.

psutil opens, reads, closes and parses six files a sample. Here three are left, and nearly all the
cost is the kernel's own, most of it for ``status``, which alone has the context switches, and
memory as exact as ``statm``; ``stat`` only estimates it on new kernels. CPU time comes from the
process's clock (clock_getcpuclockid(3)): a tenth of the price of ``stat``, and in nanoseconds where
that counts hundredths of a second.

A descriptor belongs to the process, not to its number: once the process has ended, reading fails,
even when its pid was given to another. All are opened below one descriptor of the folder, so that
they can't belong to two processes. The clock goes by number; it is asked before ``status`` is read,
which shows that the number was still its own.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from outrider.metrics.reading import MOST_DESCENDANTS, SLEEPING, STATES, Deep, Gone, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

DESCRIPTORS_EACH = 3
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_GONE = (ProcessLookupError, FileNotFoundError)
# What reading answers once a process has ended; a clock that is gone is an invalid one.
_ENDED = (errno.ESRCH, errno.ENOENT, errno.EINVAL)
# Larger than these files get, as a rule; they are read in one piece. Up to 512 bytes, its own head
# included, Python has an object at a lower price; the seven numbers of ``io`` are 223 at most.
_SMALL, _MIDDLE, _LARGE = 256, 512, 2048
# What comes before the numbers. Those of the end are looked for from the end, and taken apart in
# one go together with the name of the next: each find, slice and split counts.
_STATE, _RSS, _THREADS = b"\nState:\t", b"\nVmRSS:", b"\nThreads:\t"
_VOLUNTARY, _READ_BYTES = b"\nvoluntary_ctxt_switches:\t", b"\nread_bytes: "
_STATES = {letter[0]: state for letter, state in STATES.items()}
_NONE = -1
# Each call counts here: names of the module are found quicker, and a named tuple's own __new__
# takes twice as long.
_pread, _fstat, _gettime, _new = os.pread, os.fstat, time.clock_gettime, tuple.__new__


class ProcReader:
    """Reads one process. Raises Gone when there is none, OSError when descriptors ran out."""

    __slots__ = ("_clock", "_fds", "_io", "_pid", "_size", "_sized", "_status", "started_s")

    def __init__(self, pid: int) -> None:
        self._status = self._io = self._fds = _NONE
        self._pid = pid
        self._clock = _cpu_clock(pid)
        self._sized = _size_counts_descriptors()
        self._size = _LARGE
        with _translated(pid):
            folder = os.open(f"/proc/{pid}", _FOLDER)
            try:
                self._status = os.open("status", os.O_RDONLY, dir_fd=folder)
                # Both need the right to trace the process: another user's keep theirs closed.
                with contextlib.suppress(PermissionError):
                    self._io = os.open("io", os.O_RDONLY, dir_fd=folder)
                with contextlib.suppress(PermissionError):
                    self._fds = os.open("fd", _FOLDER, dir_fd=folder)
                self.started_s = _started_s(folder)
            except BaseException:
                self.close()
                raise
            finally:
                os.close(folder)

    def read(self) -> Reading:
        """Return what is cheap: four system calls. Raises Gone."""
        try:
            cpu_seconds = _gettime(self._clock)
            text = _pread(self._status, self._size, 0)
            io = _pread(self._io, _SMALL, 0) if self._io >= 0 else None
            if self._fds < 0:
                fds = None
            else:
                fds = _fstat(self._fds).st_size if self._sized else self._list_fds()
        except PermissionError:  # it took on another user: the right is looked at again each time
            self._close_private()
            return self.read()
        except OSError as error:
            if error.errno not in _ENDED:
                raise
            raise Gone(f"process {self._pid} is gone.") from None
        if len(text) == self._size:  # a user of many groups: the end is missing
            self._size *= 2
            return self.read()
        at = text.find
        memory = at(_RSS)  # a zombie has none
        threads = at(_THREADS, max(0, memory)) + len(_THREADS)
        switches = text[text.rfind(_VOLUNTARY) + len(_VOLUNTARY) :].split(None, 3)
        moved = io[io.find(_READ_BYTES) + len(_READ_BYTES) :].split(None, 3) if io else None
        return _new(
            Reading,
            (
                _STATES.get(text[at(_STATE) + len(_STATE)], SLEEPING),
                cpu_seconds,
                int(text[memory + len(_RSS) : at(b"k", memory)]) * 1024 if memory >= 0 else 0,
                int(text[threads : at(b"\n", threads)]),
                fds,
                int(moved[0]) if moved else None,
                int(moved[2]) if moved else None,
                int(switches[0]),
                int(switches[2]),
            ),
        )

    def read_deep(self) -> Deep:
        """Return what is dear. Raises Gone."""
        with _translated(self._pid):
            pss, children = _pss(self._pid), _children(self._pid)
            os.pread(self._status, 1, 0)  # fails when the number was no longer its own
        return Deep(pss, None if children is None else len(children))

    def descendants(self) -> list[int]:
        """Return the pids of its children and theirs, a bounded number. Raises Gone."""
        with _translated(self._pid):
            found: list[int] = []
            waiting = [self._pid]
            while waiting and len(found) < MOST_DESCENDANTS:
                children = _children(waiting.pop()) or []
                found += children
                waiting += children
            os.pread(self._status, 1, 0)
        return found[:MOST_DESCENDANTS]

    def close(self) -> None:
        """Close the descriptors. Safe to repeat."""
        if self._status >= 0:
            os.close(self._status)
        self._status = _NONE
        self._close_private()

    def __del__(self) -> None:
        self.close()

    def _close_private(self) -> None:
        for descriptor in (self._io, self._fds):
            if descriptor >= 0:
                os.close(descriptor)
        self._io = self._fds = _NONE

    def _list_fds(self) -> int | None:
        try:
            return len(os.listdir(self._fds))  # noqa: PTH208 - a path would not be this process's
        except OSError as error:  # to list takes a descriptor of ours, and there may be none left
            if error.errno == errno.EMFILE:
                return None
            raise


@functools.cache
def available() -> bool:
    """Tell whether this system has what is read here: Linux, and a /proc that is our own."""
    try:
        own = sys.platform == "linux" and Path("/proc/self").readlink().name == str(os.getpid())
        return own and time.clock_gettime(_cpu_clock(os.getpid())) > 0
    except OSError:
        return False


def _cpu_clock(pid: int) -> int:
    """Return the number of a process's CPU clock, as the kernel and the C library encode it."""
    return (~pid << 3) | 2


@contextlib.contextmanager
def _translated(pid: int) -> Iterator[None]:
    try:
        yield
    except _GONE:
        raise Gone(f"process {pid} is gone.") from None


@functools.cache
def _size_counts_descriptors() -> bool:
    """Tell whether the size of /proc/PID/fd is their number, as since Linux 6.2; it was 0."""
    return Path("/proc/self/fd").stat().st_size > 0


@functools.cache
def _lists_children() -> bool:
    """Tell whether this kernel was built to list them (CONFIG_PROC_CHILDREN)."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


@functools.cache
def _boot_s() -> float:
    return psutil.boot_time()


def _started_s(folder: int) -> float:
    stat = os.open("stat", os.O_RDONLY, dir_fd=folder)
    try:
        text = os.pread(stat, _MIDDLE, 0)
    finally:
        os.close(stat)
    # The name before the bracket may hold anything, brackets and spaces included.
    ticks = int(text[text.rindex(b")") + 2 :].split(b" ", 20)[19])
    return _boot_s() + ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int] | None:
    """Return the pids of children. Each thread has a list of those that it started."""
    if not _lists_children():
        return None
    found: list[int] = []
    with contextlib.suppress(*_GONE):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(*_GONE):
                found += map(int, (thread / "children").read_bytes().split())
    return found


def _pss(pid: int) -> float | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except PermissionError:
        return None
    place = text.find(b"\nPss:")
    return float(text[place + 5 :].split(None, 1)[0]) * 1024 if place >= 0 else None
