"""The log keeper: a small process between what bots write and the disk.

::

    bot ──stdout, stderr──► pipe (run/logs/NAME) ──► keeper ──► NAME.log ──► NAME.log.1 ...
                                                                NAME.log.times: when came what

It is a process of its own so that neither the supervisor's death nor its work touches a log: bots
go on writing, and the supervisor that comes next finds it at work. Bots hold their pipe open for
reading too: when the keeper itself dies they are told nothing, and wait for the next one once
64 KiB are unread.

A bot that floods its log harms only itself: the keeper takes a bounded number of bytes a second
from each pipe; beyond, the bot waits in ``write``. So the disk holds ``most_bytes * (kept + 1)``
for each bot and no more, whatever it writes. What can't be written (a full disk) is dropped and
counted.

Runs as ``python -I -S keeper.py``, and so needs the standard library only; it ends when it is told
to, or when no pipe has a writer and no supervisor holds the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import sys
import time

# The keeper's own files in the folder of pipes. No process can have such a name.
ORDERS, LOCK, STATE = ".orders", ".lock", ".state"
TIMES = struct.Struct("<dQ")
CHUNK_BYTES = 64 * 1024
LOOK_EVERY_S = 1.0
QUIT = "/quit"


class Log:
    """One pipe and its file. ``allowed`` is what may still be taken in this second."""

    def __init__(self, name: str, pipes: str, logs: str, rate: int) -> None:
        self.name, self.path = name, os.path.join(logs, f"{name}.log")  # noqa: PTH118
        self.pipe = os.open(os.path.join(pipes, name), os.O_RDONLY | os.O_NONBLOCK)  # noqa: PTH118
        self.allowed, self.rate = float(rate), rate
        self.filled_s = self.timed_s = time.monotonic()
        self.held, self.held_s, self.dropped, self.taken = False, 0.0, 0, 0
        self.timed_s -= LOOK_EVERY_S
        self.size, self.midline = 0, False
        self.file = self.times = -1
        self.open()

    def open(self) -> None:
        """Open the files, to be continued. A full disk is no error: see ``append``."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with contextlib.suppress(OSError):
            self.file = os.open(self.path, flags, 0o600)
            self.size = os.fstat(self.file).st_size
            self.times = os.open(f"{self.path}.times", flags, 0o600)

    def take(self, most_bytes: int, kept: int) -> bool:
        """Move one chunk from the pipe to the file. Tell whether somebody may still write."""
        while True:
            now_s = time.monotonic()
            self.allowed = min(self.rate, self.allowed + (now_s - self.filled_s) * self.rate)
            self.filled_s = now_s
            if self.allowed < min(CHUNK_BYTES, self.rate) / 4:
                self.held = True
                return True
            asked = min(CHUNK_BYTES, int(self.allowed))
            try:
                chunk = os.read(self.pipe, asked)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self.allowed -= len(chunk)
            self.taken += len(chunk)
            self.write(chunk, now_s, most_bytes, kept)
            if len(chunk) == asked:
                return True
            # Asked once more: a pipe that was opened after its last writer left is never reported.

    def write(self, chunk: bytes, now_s: float, most_bytes: int, kept: int) -> None:
        """Write what was taken, in a new file when this one is full."""
        if self.size and self.size + len(chunk) > most_bytes:
            # Turned at the end of a line where there is one.
            cut = chunk.find(b"\n", 0, 4096) + 1 if self.midline else 0
            self.append(chunk[:cut])
            chunk = chunk[cut:]
            self.rotate(kept)
        if now_s - self.timed_s >= LOOK_EVERY_S and self.times >= 0:
            self.timed_s = now_s
            with contextlib.suppress(OSError):
                os.write(self.times, TIMES.pack(time.time(), self.size))
        self.append(chunk)
        self.midline = not chunk.endswith(b"\n")

    def append(self, chunk: bytes) -> None:
        """Add bytes to the file, or count them as dropped."""
        if self.file < 0:
            self.open()
        try:
            written = os.write(self.file, chunk) if chunk else 0
        except OSError:
            written = 0
        self.size += written
        self.dropped += len(chunk) - written

    def rotate(self, kept: int) -> None:
        """Move the file to ``.1``, older ones up to ``.kept``, and begin a new one."""
        for number in range(kept, 0, -1):
            for ending in ("", ".times"):
                younger = f".{number - 1}" if number > 1 else ""
                with contextlib.suppress(OSError):
                    os.replace(  # noqa: PTH105
                        f"{self.path}{younger}{ending}", f"{self.path}.{number}{ending}"
                    )
        if not kept:
            for ending in ("", ".times"):
                with contextlib.suppress(OSError):
                    os.unlink(f"{self.path}{ending}")  # noqa: PTH108
        self.close_files()
        self.timed_s -= LOOK_EVERY_S
        self.open()

    def close_files(self) -> None:
        """Close what was written to."""
        for descriptor in (self.file, self.times):
            if descriptor >= 0:
                os.close(descriptor)
        self.file = self.times = -1
        self.size = 0

    def close(self) -> None:
        """Close the files and the pipe."""
        self.close_files()
        os.close(self.pipe)


class Keeper:
    """Serves a folder of pipes until it is told to quit."""

    def __init__(self, pipes: str, logs: str, most_bytes: int, kept: int, rate: int) -> None:
        self.pipes, self.logs = pipes, logs
        self.most_bytes, self.kept, self.rate = most_bytes, kept, rate
        self.open: dict[int, Log] = {}
        self.told: dict[str, list[float]] = {}
        self.poll = select.epoll()
        path = os.path.join(pipes, ORDERS)  # noqa: PTH118
        self.orders = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.poll.register(self.orders, select.EPOLLIN)
        self.quitting = False
        self.looked_s = time.monotonic()

    def run(self) -> None:
        """Serve every pipe that there is, and those that are told of, until told to quit."""
        for name in os.listdir(self.pipes):  # noqa: PTH208
            if not name.startswith("."):
                self.begin(name)
        while not self.quitting:
            self.turn()
        deadline = time.monotonic() + LOOK_EVERY_S
        for log in list(self.open.values()):  # what was written before it was told to
            log.allowed, before = float(1 << 40), -1
            log.rate = 1 << 40
            while log.taken != before and time.monotonic() < deadline:
                before = log.taken
                log.take(self.most_bytes, self.kept)

    def turn(self) -> None:
        """Wait for something to do, and do it: one chunk of each pipe, so that all are served."""
        held = any(log.held for log in self.open.values())
        for descriptor, _ in self.poll.poll(LOOK_EVERY_S / 10 if held else LOOK_EVERY_S):
            if descriptor == self.orders:
                self.obey()
                continue
            self.serve(self.open[descriptor])
        if time.monotonic() - self.looked_s >= LOOK_EVERY_S / 10:
            self.look()

    def serve(self, log: Log) -> None:
        """Take a chunk; close a pipe that is empty and that nobody has open to write.

        Whoever opens it later tells us after that, so none is missed.
        """
        if not log.take(self.most_bytes, self.kept):
            self.poll.unregister(log.pipe)
            del self.open[log.pipe]
            self.note(log)
            log.close()
        elif log.held:
            self.poll.unregister(log.pipe)  # until the next look

    def look(self) -> None:
        """Let those go on that were held back, and write down what was taken."""
        now_s = time.monotonic()
        passed_s, self.looked_s = now_s - self.looked_s, now_s
        before = dict(self.told)
        for descriptor, log in self.open.items():
            if log.held:
                log.held = False
                log.held_s += passed_s
                self.poll.register(descriptor, select.EPOLLIN)
            self.note(log)
        if before != self.told:
            path = os.path.join(self.pipes, STATE)  # noqa: PTH118
            with contextlib.suppress(OSError):
                with open(f"{path}.new", "w", encoding="ascii") as file:  # noqa: PTH123
                    json.dump(self.told, file)
                os.replace(f"{path}.new", path)  # noqa: PTH105
        if not self.open and not self.is_wanted():
            self.quitting = True

    def note(self, log: Log) -> None:
        """Note what was taken from a pipe so far."""
        self.told[log.name] = [log.taken, log.dropped, round(log.held_s, 1)]

    def is_wanted(self) -> bool:
        """Tell whether a supervisor lives: it holds the lock beside its sockets."""
        path = os.path.join(os.path.dirname(self.pipes), "supervisor.lock")  # noqa: PTH118, PTH120
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def obey(self) -> None:
        """Take orders: the names of pipes to serve, or to quit."""
        with contextlib.suppress(BlockingIOError):
            for name in os.read(self.orders, CHUNK_BYTES).decode().splitlines():
                if name == QUIT:
                    self.quitting = True
                elif name and "/" not in name and not name.startswith("."):
                    self.begin(name)

    def begin(self, name: str) -> None:
        """Serve a pipe from now on, unless it is served."""
        if any(log.name == name for log in self.open.values()):
            return
        with contextlib.suppress(OSError):
            log = Log(name, self.pipes, self.logs, self.rate)
            log.taken, log.dropped, log.held_s = self.told.get(name, [0, 0, 0.0])  # type: ignore[assignment]
            self.open[log.pipe] = log
            self.poll.register(log.pipe, select.EPOLLIN)
            self.serve(log)


def main(arguments: list[str]) -> None:
    """Serve ``pipes logs most_bytes kept rate`` unless another keeper does."""
    pipes, logs = arguments[:2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lock = os.open(os.path.join(pipes, LOCK), os.O_RDWR | os.O_CREAT, 0o600)  # noqa: PTH118
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # another keeps these logs
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    Keeper(pipes, logs, *map(int, arguments[2:])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
