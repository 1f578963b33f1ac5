"""Captured output: pipes that the log keeper empties into files, and the reading of those files.

The supervisor only makes the pipes and starts the keeper (see ``keeper``); no byte passes through
it. Beside each log lies a sparse table of when which byte was written, so that ``--since`` finds
its place in a large log without reading it, and the log itself stays as its bot wrote it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.supervisor import keeper

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 10 * 1024 * 1024
KEPT = 3
BYTES_PER_S = 8 * 1024 * 1024
_TAIL_BLOCK = 64 * 1024


def path_of(folder: Path, name: str) -> Path:
    """Return the log file of a process."""
    return folder / f"{name}.log"


def open_file(folder: Path, name: str) -> int:
    """Return a descriptor that appends to a log file, for what runs without a keeper."""
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(path_of(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def size_of(path: Path) -> int:
    """Return a log's size in bytes; 0 when there is none yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Pipes:
    """The pipes of one supervisor's processes, and the keeper that empties them.

    ``rate`` is how many bytes a second one process may write before it has to wait.
    """

    def __init__(
        self,
        run_dir: Path,
        logs_dir: Path,
        *,
        most_bytes: int = MOST_BYTES,
        kept: int = KEPT,
        rate: int = BYTES_PER_S,
    ) -> None:
        self.folder, self.logs_dir = run_dir / "logs", logs_dir
        self._options = (most_bytes, kept, rate)
        self._orders = -1
        # A pipe that nobody has open loses what is in it: a bot that wrote and ended before the
        # keeper came would have said nothing.
        self._held: dict[str, int] = {}

    def open(self) -> tuple[int, int]:
        """See that a keeper is at work. Return its pid and pidfd; the caller owns the latter.

        One that outlived its supervisor is found and goes on.
        """
        for folder in (self.folder, self.logs_dir):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        orders = self.folder / keeper.ORDERS
        if not orders.exists():
            os.mkfifo(orders, 0o600)
        if self._orders < 0:
            self._orders = os.open(orders, os.O_RDWR | os.O_NONBLOCK)
        running = self._running()
        if running:
            with contextlib.suppress(OSError):
                return running, os.pidfd_open(running)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(self.folder.resolve()),
             str(self.logs_dir.resolve()), *map(str, self._options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env={},
        )  # fmt: skip
        process.returncode = 0  # collected through its pidfd
        return process.pid, os.pidfd_open(process.pid)

    def begin(self, name: str) -> int:
        """Return a descriptor that a process may write its output to. Raises OSError.

        It is open for reading too, so that nobody who writes is killed when the keeper is.
        """
        pipe = self.folder / name
        if not pipe.exists():
            os.mkfifo(pipe, 0o600)
        if name not in self._held:
            self._held[name] = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        descriptor = os.open(pipe, os.O_RDWR)
        with contextlib.suppress(BlockingIOError):  # a new keeper looks for itself
            os.write(self._orders, f"{name}\n".encode())
        return descriptor

    def unread(self, name: str) -> int:
        """Return how many bytes wait in a pipe for the keeper."""
        if name not in self._held:
            return 0
        said = fcntl.ioctl(self._held[name], termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", said)[0])

    def told(self) -> dict[str, list[float]]:
        """Return of each process what the keeper says: bytes taken, dropped, seconds held back."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.folder / keeper.STATE).read_bytes()))
        return {}

    def drop(self, name: str) -> None:
        """Forget the pipe of a process that was stopped; what is in it is still written."""
        if name in self._held:
            os.close(self._held.pop(name))

    def quit(self) -> None:
        """Tell the keeper to write what is left and end."""
        with contextlib.suppress(OSError):
            os.write(self._orders, f"{keeper.QUIT}\n".encode())

    def clear(self) -> None:
        """Take the pipes away, once the keeper has ended."""
        for name in list(self._held):
            self.drop(name)
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                path.unlink(missing_ok=True)
            self.folder.rmdir()

    def _running(self) -> int:
        """Return the pid of the keeper that holds the lock; 0 when none does."""
        path = self.folder / keeper.LOCK
        try:
            lock = os.open(path, os.O_RDWR)
        except OSError:
            return 0
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            for _ in range(100):  # it writes its pid right after it took the lock
                text = path.read_text(encoding="ascii")
                if text.isdecimal():
                    return int(text)
                time.sleep(0.01)
        finally:
            os.close(lock)
        return 0


def tail(path: Path, lines: int, *, end: int | None = None) -> list[str]:
    """Return the last lines of a log, at most 64 KiB of it; nothing when there is none yet.

    ``end`` is the byte to stop at; the end of the file by default.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            stop = size if end is None else min(end, size)
            start = file.seek(max(0, stop - _TAIL_BLOCK))
            text = file.read(stop - start).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []


def since(path: Path, at_s: float) -> Iterator[str]:
    """Yield the lines that were written at or after a time, to the second, oldest first."""
    older = sorted(path.parent.glob(f"{path.name}.*[0-9]"), key=_number, reverse=True)
    for each in (*older, path):
        offset = _offset(each, at_s)
        if offset is None:
            continue
        with contextlib.suppress(FileNotFoundError), each.open("rb") as file:
            file.seek(offset)
            for line in file:
                yield line.decode("utf-8", "replace").rstrip("\n")


def _offset(path: Path, at_s: float) -> int | None:
    """Return where in a log the lines of a time begin; None when all of it is older."""
    try:
        table = Path(f"{path}.times").read_bytes()
    except FileNotFoundError:
        return 0 if path.exists() and path.stat().st_mtime >= at_s else None
    whole = len(table) - len(table) % keeper.TIMES.size
    for written_s, offset in keeper.TIMES.iter_unpack(table[:whole]):
        # An entry is the first byte of its second; more may follow within it.
        if written_s + keeper.LOOK_EVERY_S > at_s:
            return int(offset)
    return None


def _number(path: Path) -> int:
    return int(path.suffix[1:])


class Follower:
    """Reads what is added to a log, also when it is turned to another file meanwhile."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None
        self._rest = b""
        if self._file and not from_start:
            self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def lines(self) -> list[str]:
        """Return the lines that were completed since the last call."""
        if self._file is None:
            if not self._path.exists():
                return []
            self._file = self._path.open("rb")
        found = self._rest + self._file.read()
        with contextlib.suppress(FileNotFoundError):
            here, there = os.fstat(self._file.fileno()), self._path.stat()
            if here.st_ino != there.st_ino:  # turned: what came before that was read above
                found += self._file.read()
                self._file.close()
                self._file = self._path.open("rb")
                found += self._file.read()
            elif there.st_size < self._file.tell():  # emptied by somebody
                self._file.seek(0)
                found += self._file.read()
        *whole, self._rest = found.split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]
