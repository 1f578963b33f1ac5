"""The server as a process: it says nothing, streams, and stops at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trustme

from outrider.store import connection
from outrider.web.access import record
from tests.unit.web.conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
def asked(
    port: int, path: str, headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    """Ask as soon as the server listens."""
    give_up_at = time.monotonic() + 30
    while True:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(line):
            try:
                carried = {"Authorization": f"Bearer {TOKEN}"} | (headers or {})
                line.request("GET", path, headers=carried)
            except ConnectionRefusedError:
                assert time.monotonic() < give_up_at, "the server did not start"
                time.sleep(0.02)
                continue
            with line.getresponse() as answer:
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


def test_with_a_certificate_it_speaks_tls_under_its_path(
    port: int, valkey_url: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "outrider.toml").write_text(
        '[dashboard]\nroot_path = "/ops"\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
    )
    env = {name: text for name, text in os.environ.items() if not name.startswith("OUTRIDER_")}
    env |= {"OUTRIDER_DASHBOARD_TOKEN": TOKEN, "OUTRIDER_REDIS_URL": valkey_url}
    command = [sys.executable, "-m", "outrider", "dashboard", "--port", str(port)]
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with subprocess.Popen(command, cwd=tmp_path, env=env) as process:
        try:
            answer = over_tls(port, trust, f"/ops/?token={TOKEN}")
        finally:
            process.kill()
    assert (answer.status, answer.getheader("location")) == (303, "/ops/")
    assert "; Secure" in (answer.getheader("set-cookie") or "")


def over_tls(port: int, trust: ssl.SSLContext, path: str) -> http.client.HTTPResponse:
    """Ask as soon as the server listens."""
    give_up_at = time.monotonic() + 60
    while True:
        line = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trust)
        with contextlib.closing(line):
            try:
                line.request("GET", path)
            except ConnectionRefusedError:
                assert time.monotonic() < give_up_at, "the server did not start"
                time.sleep(0.05)
                continue
            return line.getresponse()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [("", "127.0.0.1"), ('[dashboard]\nproxies = ["127.0.0.1"]\n', "203.0.113.9")],
    ids=["nobody's word", "the proxy's word"],
)
def test_an_address_is_believed_of_named_proxies_only(
    port: int, valkey_url: str, tmp_path: Path, settings: str, expected: str
) -> None:
    (tmp_path / "outrider.toml").write_text(settings)
    env = {name: text for name, text in os.environ.items() if not name.startswith("OUTRIDER_")}
    env |= {"OUTRIDER_DASHBOARD_TOKEN": TOKEN, "OUTRIDER_REDIS_URL": valkey_url}
    command = [sys.executable, "-m", "outrider", "dashboard", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=env) as process:
        try:
            with asked(port, f"/?token={TOKEN}", {"X-Forwarded-For": "203.0.113.9"}) as answer:
                assert answer.status == 303
        finally:
            process.kill()
    with connection.connect(valkey_url) as client:
        assert record.read(client)[0]["address"] == expected
