"""The sockets that bots send their frames to: one for each process, and one for all others.

A kernel queues ten datagrams a socket. On a socket of its own, a bot that floods fills its own
queue and nobody else's; what it sends beyond a number a second stays there, unread, until the
second is over, so that it costs nobody's time either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import zlib
from typing import TYPE_CHECKING

from outrider.metrics import frame as frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARED = "telemetry.sock"
# An SDK sends one frame a second, and what it could not send before.
FRAMES_PER_S = 100
_DRAINED_AT_ONCE = 256
# After a wake that took nearly a queue's length, more are waiting on the shared socket.
BUSY_FROM = 8
REST_S = 0.25
_TOLD_EVERY_S = 60.0


class _Own:
    """The socket of one process, and what it took in this second."""

    def __init__(self, opened: socket.socket, path: Path) -> None:
        self.socket, self.path = opened, path
        self.second_s, self.taken = 0.0, 0
        self.resting: asyncio.TimerHandle | None = None
        self.told_s = -_TOLD_EVERY_S


class Telemetry:
    """Takes frames in one event loop, from :meth:`open` to :meth:`close`.

    ``take(frame)`` tells whether a frame is to be kept; ``is_starting()`` whether somebody waits
    for a bot's first word; ``tell(name, what, detail)`` hears of floods.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        take: Callable[[frames.Frame], bool],
        is_starting: Callable[[], bool],
        tell: Callable[[str, str, str], None],
    ) -> None:
        self.path = run_dir / SHARED
        self.refused = 0
        self._run_dir = run_dir
        self._take, self._is_starting, self._tell = take, is_starting, tell
        self._shared: socket.socket | None = None
        self._own: dict[str, _Own] = {}

    def open(self) -> None:
        """Open the shared socket."""
        self._shared = _bound(self.path)
        self._listen()

    def close(self) -> None:
        """Close every socket. Safe to repeat."""
        for name in list(self._own):
            self.drop(name)
        if self._shared:
            asyncio.get_running_loop().remove_reader(self._shared)
            self._shared.close()
            self._shared = None
        self.path.unlink(missing_ok=True)

    def add(self, name: str) -> Path:
        """Open a socket for one process, at the same place whoever supervises. Return its path."""
        path = self._run_dir / f"t{zlib.crc32(name.encode()):08x}.sock"
        if name not in self._own:
            own = self._own[name] = _Own(_bound(path), path)
            asyncio.get_running_loop().add_reader(own.socket, self._drain_own, name, own)
        return path

    def drop(self, name: str) -> None:
        """Close a process's socket."""
        own = self._own.pop(name, None)
        if own is None:
            return
        if own.resting:
            own.resting.cancel()
        asyncio.get_running_loop().remove_reader(own.socket)
        own.socket.close()
        own.path.unlink(missing_ok=True)

    def _listen(self) -> None:
        if self._shared is not None:
            asyncio.get_running_loop().add_reader(self._shared, self._drain_shared)

    def _drain_shared(self) -> None:
        """Take what was sent, a bounded number at once, then rest if it was little.

        There is no rest while a process starts, since its frame says that it is ready.
        """
        assert self._shared is not None
        for taken in range(_DRAINED_AT_ONCE):
            try:
                self._hear(self._shared.recv(frames.MOST_BYTES))
            except BlockingIOError:
                if taken < BUSY_FROM and not self._is_starting():
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(self._shared)
                    loop.call_later(REST_S, self._listen)
                return

    def _drain_own(self, name: str, own: _Own) -> None:
        now_s = time.monotonic()
        if now_s - own.second_s >= 1.0:
            own.second_s, own.taken = now_s, 0
        with contextlib.suppress(BlockingIOError):
            while own.taken < FRAMES_PER_S:
                own.taken += 1
                self._hear(own.socket.recv(frames.MOST_BYTES), by=name)
        if own.taken < FRAMES_PER_S:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(own.socket)
        own.resting = loop.call_later(own.second_s + 1.0 - now_s, self._listen_own, name, own)
        if now_s - own.told_s >= _TOLD_EVERY_S:
            own.told_s = now_s
            self._tell(
                name, "floods its telemetry",
                f"more than {FRAMES_PER_S} frames a second; what it sends beyond waits or is lost",
            )  # fmt: skip

    def _listen_own(self, name: str, own: _Own) -> None:
        own.resting = None
        asyncio.get_running_loop().add_reader(own.socket, self._drain_own, name, own)

    def _hear(self, message: bytes, *, by: str = "") -> None:
        try:
            frame = frames.decode(message)
        except ValueError:  # nonsense
            self.refused += 1
            return
        if by not in ("", frame.bot) or not self._take(frame):
            self.refused += 1


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind(str(path))
    os.chmod(path, 0o600)  # noqa: PTH101 - a socket, not a file
    return opened
