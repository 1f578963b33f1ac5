"""pytest-celery's nodes on processes instead of containers: no engine is needed.

Its classes ask little of a container: a name, a status, logs, and the means to kill and restart
it. A process with its output in a file has all of that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from kombu import pools
from pytest_celery import CeleryTestContainer

from tests.servers import leash

if TYPE_CHECKING:
    from pathlib import Path

    from celery import Celery

    from tests.servers.valkey import Server

READY_WITHIN_S = 30.0
POLL_S = 0.02


def close(app: Celery) -> None:
    """Close what a client's application opened; sockets left to the garbage collector warn."""
    gc.collect()  # results that are collected later would reconnect
    backend: Any = app.backend
    backend.result_consumer.stop()
    backend.client.close()
    backend.client.connection_pool.disconnect()
    app.close()
    pools.reset()


class ValkeyContainer(CeleryTestContainer):
    """An embedded Valkey that keeps its data over a restart, as broker and as backend."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def name(self) -> str:
        return "valkey"

    @property
    def id(self) -> str:
        return self.name

    @property
    def status(self) -> str:
        return "running"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {
            "url": self._server.url, "host_url": self._server.url, "hostname": "127.0.0.1",
            "port": self._server.port, "vhost": "0",
        }  # fmt: skip

    def ready(self) -> bool:
        return True

    def logs(self) -> str:
        return ""

    def reload(self) -> None: ...

    def kill(self, signal: str | int = "SIGKILL") -> None:
        del signal
        self._server.kill()

    def restart(self, timeout: int = 10) -> None:
        del timeout
        self._server.kill()
        self._server.start()


class ProcessContainer(CeleryTestContainer):
    """A worker, or any other program, that says in its log when it is ready."""

    def __init__(
        self, name: str, argv: list[str], *, cwd: Path, env: dict[str, str], ready_prompt: str
    ) -> None:
        self._name = name
        self._argv, self._cwd, self._env = argv, cwd, env
        self._prompt = ready_prompt
        self._log = cwd / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0
        self.start()

    @property
    def name(self) -> str:
        return self._name

    @property
    def id(self) -> str:
        return self._name

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> str:
        return "running" if self._process and self._process.poll() is None else "exited"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    def version(self) -> str:
        import celery

        return celery.__version__

    def log_level(self) -> str:
        return "INFO"

    def worker_name(self) -> str:
        return self.name

    def worker_queue(self) -> str:
        return "outrider.analysis"

    def start(self) -> None:
        self._began = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self._argv],
                cwd=self._cwd, env=self._env, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def logs(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def ready(self) -> bool:
        """Wait until this start, not an earlier one, said that it is ready."""
        deadline = time.monotonic() + READY_WITHIN_S
        while self._prompt not in self._log.read_bytes()[self._began :].decode("utf-8", "replace"):
            assert self.status == "running", f"{self.name} ended:\n{self.logs()[-3000:]}"
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.logs()[-3000:]}"
            time.sleep(POLL_S)
        return True

    def reload(self) -> None: ...

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(READY_WITHIN_S)

    def kill(self, signal: str | int = "SIGKILL") -> None:
        number = getattr(_signals, signal) if isinstance(signal, str) else signal
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(READY_WITHIN_S)

    def restart(self, timeout: int = 10) -> None:
        del timeout
        if self.status == "running":
            self.kill("SIGTERM")
        self.start()
        self.ready()

    def teardown(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait(READY_WITHIN_S)


_signals = signal
