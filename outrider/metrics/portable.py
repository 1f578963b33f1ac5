"""Reads a process with psutil: where /proc is not ours, and when descriptors have run out.

A psutil.Process remembers when its process started, so that a pid which was given to another
program is noticed and read as gone.
"""

from __future__ import annotations

import psutil

from outrider.metrics import reading
from outrider.metrics.reading import Deep, Gone, Reading

_STATES = {
    psutil.STATUS_RUNNING: reading.RUNNING,
    psutil.STATUS_WAKING: reading.RUNNING,
    psutil.STATUS_DISK_SLEEP: reading.WAITING_FOR_DISK,
    psutil.STATUS_STOPPED: reading.STOPPED,
    psutil.STATUS_TRACING_STOP: reading.STOPPED,
    psutil.STATUS_ZOMBIE: reading.ZOMBIE,
    psutil.STATUS_DEAD: reading.ZOMBIE,
}


class PortableReader:
    """Reads one process. Raises Gone when there is none."""

    def __init__(self, pid: int) -> None:
        try:
            self._process = psutil.Process(pid)
            self.started_s = self._process.create_time()
        except psutil.Error:
            raise Gone(f"process {pid} is gone.") from None

    def read(self) -> Reading:
        """Return what is cheap; here that is some hundred microseconds. Raises Gone."""
        process = self._process
        try:
            if not process.is_running():
                raise psutil.NoSuchProcess(process.pid)
            with process.oneshot():
                state = _STATES.get(process.status(), reading.SLEEPING)
                cpu, switches = process.cpu_times(), process.num_ctx_switches()
                io = self._io()
                return Reading(
                    state,
                    cpu.user + cpu.system,
                    process.memory_info().rss,
                    process.num_threads(),
                    self._fds(),
                    io[0] if io else None,
                    io[1] if io else None,
                    switches.voluntary,
                    switches.involuntary,
                )
        except psutil.Error as error:
            raise Gone(f"process {process.pid} is gone.") from error

    def read_deep(self) -> Deep:
        """Return what is dear. To find children, psutil looks at every process. Raises Gone."""
        try:
            children = len(self._process.children())
        except psutil.Error as error:
            raise Gone(f"process {self._process.pid} is gone.") from error
        try:
            pss = getattr(self._process.memory_full_info(), "pss", None)
        except psutil.Error:
            pss = None
        return Deep(pss, children)

    def descendants(self) -> list[int]:
        """Return the pids of its children and theirs, a bounded number. Raises Gone."""
        try:
            found = self._process.children(recursive=True)
        except psutil.Error as error:
            raise Gone(f"process {self._process.pid} is gone.") from error
        return [child.pid for child in found[: reading.MOST_DESCENDANTS]]

    def close(self) -> None:
        """Nothing is held open."""

    def _io(self) -> tuple[int, int] | None:
        # Not every system counts a process's input and output.
        counters = getattr(self._process, "io_counters", None)
        try:
            counted = counters() if counters else None
        except psutil.AccessDenied:
            return None
        return (counted.read_bytes, counted.write_bytes) if counted else None

    def _fds(self) -> int | None:
        try:
            return self._process.num_fds()
        except psutil.AccessDenied:
            return None
