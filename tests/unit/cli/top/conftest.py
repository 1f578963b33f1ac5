"""A terminal of its own for ``outrider top``: what was drawn can be read, keys can be pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 60.0  # a loaded machine takes its time; a passing test does not


class Terminal:
    """A process in a pseudo terminal. ``drawn`` is all that it wrote."""

    def __init__(
        self, *arguments: str, cwd: Path, env: dict[str, str], size: tuple[int, int] = (24, 120)
    ) -> None:
        self._ours, self.theirs = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.theirs)
        self.drawn = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "outrider", "top", "--interval", "0.2s", *arguments],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, cwd=cwd,
            env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env},
            start_new_session=True,
        )  # fmt: skip

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)

    def read(self, timeout_s: float = 0.1) -> bool:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        self.drawn += os.read(self._ours, 1 << 16).decode("utf-8", "replace")
        return True

    def wait_for(self, text: str) -> None:
        """Read until a text was drawn since the last wait; forget what stood before it."""
        give_up_at = time.monotonic() + PATIENCE_S
        while text not in self.drawn:
            if time.monotonic() > give_up_at or (
                self.process.poll() is not None and not self.read()
            ):
                pytest.fail(f"{text!r} was not drawn; the end of what was: {self.drawn[-3000:]!r}")
            self.read()
        self.drawn = self.drawn.partition(text)[2]

    def wait_until(self, holds: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < give_up_at
            self.read()

    def ended(self) -> int:
        """Read to the end; return the exit code."""
        self.wait_until(lambda: self.process.poll() is not None)
        while self.read():
            pass
        return self.process.returncode

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        for descriptor in (self._ours, self.theirs):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Open a terminal with ``outrider top`` in it."""
    opened: list[Terminal] = []

    def start(*arguments: str, env: dict[str, str], **options: Any) -> Terminal:
        opened.append(Terminal(*arguments, cwd=tmp_path, env=env, **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
