"""Flower as the stack starts it: nothing without the password, whatever the environment says."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "password-of-a-test-0123456789"
STATE_AND_TASKS = ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks",
                   "/api/queues/length", "/api/task/types", "/metrics")  # fmt: skip
CHANGES = ("/api/task/send-task/outrider.supervise.restart", "/api/worker/shutdown/x",
           "/api/task/async-apply/x", "/api/task/revoke/x")  # fmt: skip


@pytest.fixture
def port(valkey_url: str, tmp_path: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    env = {name: text for name, text in os.environ.items() if not name.startswith("OUTRIDER_")}
    env |= {
        "OUTRIDER_REDIS_URL": valkey_url,
        "OUTRIDER_FLOWER_PASSWORD": PASSWORD,
        # What would open its API to everybody, as somebody may have it in their shell.
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    command = [sys.executable, "-m", "outrider", "flower", "--port", str(free)]
    with subprocess.Popen(command, cwd=tmp_path, env=env) as process:
        try:
            wait_for(free)
            yield free
        finally:
            process.kill()


def wait_for(port: int) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            assert status(port, "GET", "/healthcheck") == 200
        except ConnectionRefusedError:
            assert time.monotonic() < give_up_at, "Flower did not start"
            time.sleep(0.05)
        else:
            return


def status(port: int, method: str, path: str, password: str = "") -> int:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    pair = base64.b64encode(f"outrider:{password}".encode()).decode()
    try:
        line.request(method, path, headers={"Authorization": f"Basic {pair}"} if password else {})
        return line.getresponse().status
    finally:
        line.close()


def test_nothing_is_told_or_done_without_the_password(port: int) -> None:
    for path in STATE_AND_TASKS:
        assert status(port, "GET", path) == 401, path
        assert status(port, "GET", path, "wrong") == 401, path
    for path in CHANGES:
        assert status(port, "POST", path) == 401, path
    assert status(port, "GET", "/api/tasks", PASSWORD) == 200
