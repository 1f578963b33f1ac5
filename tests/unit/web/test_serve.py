"""The server as a process: it says nothing, streams, and stops at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.unit.web.conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVE = "import json, sys; from outrider.web import serve; serve.run(**json.loads(sys.argv[1]))"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(port: int, valkey_url: str) -> Iterator[subprocess.Popen[str]]:
    given = {"host": "127.0.0.1", "port": port, "redis_url": valkey_url, "token": TOKEN}
    command = [sys.executable, "-c", _SERVE, json.dumps(given | {"interval_s": 10})]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@contextlib.contextmanager
def asked(port: int, path: str) -> Iterator[http.client.HTTPResponse]:
    """Ask as soon as the server listens."""
    give_up_at = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            except ConnectionRefusedError:
                assert time.monotonic() < give_up_at, "the server did not start"
                time.sleep(0.02)
                continue
            with connection.getresponse() as answer:
                yield answer
            return


def test_an_open_stream_does_not_hold_the_stop_up(server: subprocess.Popen[str], port: int) -> None:
    with asked(port, "/events") as stream:
        assert stream.readline() == b"retry: 2000\n"
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=3)
    assert said == ""
    assert server.returncode == -signal.SIGTERM


def test_the_server_does_not_say_what_it_is_made_of(
    server: subprocess.Popen[str], port: int
) -> None:
    del server
    with asked(port, "/healthz") as answer:
        assert (answer.status, answer.getheader("server")) == (200, None)
