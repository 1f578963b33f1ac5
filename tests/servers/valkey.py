"""A real Valkey for a test: the embedded binary on a free port, gone with the test process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from outrider.workers import valkey
from tests.servers import leash

READY_WITHIN_S = 20.0


class Server:
    """A server that a test may kill, freeze and start again; its data and port stay the same."""

    def __init__(
        self, folder: Path | None = None, *, appendonly: bool = False, password: str = ""
    ) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="outrider-valkey-")
        self.folder = folder or Path(str(self._temporary and self._temporary.name))
        self.port = valkey.free_port()
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self._password = password
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._temporary:
            self._temporary.cleanup()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), valkey.binary(),
                "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
                "--save", "", "--appendonly", "yes" if self._appendonly else "no",
                "--requirepass", self._password,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + READY_WITHIN_S
        while not valkey.answers(self.url):
            assert time.monotonic() < deadline, "Valkey did not start"
            time.sleep(0.02)

    def freeze(self) -> None:
        """Stop it from running, with its connections open: the worst way to be away."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone. Safe to repeat."""
        if self._process and self._process.poll() is None:
            self.thaw()  # a stopped process can't be waited for
            self._process.kill()
        if self._process:
            self._process.wait()
        self._process = None
