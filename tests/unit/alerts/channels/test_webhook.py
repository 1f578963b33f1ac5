from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from outrider.alerts import ways
from outrider.alerts.channels import webhook
from outrider.alerts.channels.webhook import WebhookChannel
from outrider.errors import DeliveryError
from outrider.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGE = {
    "id": "1", "from": "inactive", "to": "firing", "severity": "critical", "host": "h",
    "summary": "it burns", "value": 1.5,
}  # fmt: skip


@dataclass
class Receiver:
    """A local HTTP server that notes what it is sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def running(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.seen.append((self.path, dict(self.headers), sent))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as receiver:
        yield receiver


def refused(channel: WebhookChannel) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(CHANGE)
    return caught.value


def test_a_change_is_posted_as_json(receiver: Receiver) -> None:
    assert WebhookChannel(receiver.url, allow_private=True).deliver(CHANGE) == "200"
    ((path, headers, body),) = receiver.seen

    assert path == "/hook"
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert json.loads(body) == {
        "version": 1, "text": "[critical] firing on h: it burns", "alert": CHANGE,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(500, False), (503, False), (408, False), (429, False), (400, True), (404, True), (410, True)],
)
def test_an_error_of_the_server_is_worth_another_try_and_one_of_ours_is_not(
    status: int, receiver: Receiver, *, permanent: bool
) -> None:
    receiver.status = status
    error = refused(WebhookChannel(receiver.url, allow_private=True))

    assert permanent == error.permanent
    assert f"answered {status}" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
def test_a_redirect_is_not_followed(status: int, receiver: Receiver) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}

    assert refused(WebhookChannel(receiver.url, allow_private=True)).permanent
    assert len(receiver.seen) == 1


def test_an_answer_that_never_ends_is_not_read(receiver: Receiver) -> None:
    receiver.headers = {"Content-Length": str(1 << 40)}
    receiver.body = b"x" * 100

    assert WebhookChannel(receiver.url, allow_private=True).deliver(CHANGE) == "200"


def test_nobody_there_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refused(WebhookChannel(f"http://127.0.0.1:{port}/secret", allow_private=True))

    assert not error.permanent
    assert "did not answer" in str(error)
    assert "secret" not in str(error)


def test_a_silent_server_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        error = refused(WebhookChannel(f"http://127.0.0.1:{port}/", allow_private=True))

    assert not error.permanent


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1",
        "192.168.1.1", "100.64.0.1", "[::ffff:127.0.0.1]", "[fe80::1]", "[fc00::1]", "224.0.0.1",
        "2130706433", "0x7f.1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_for_good(host: str, receiver: Receiver) -> None:
    error = refused(WebhookChannel(f"http://{host}:{receiver.port}/hook"))

    assert error.permanent
    assert "allow_private" in str(error)
    assert receiver.seen == []


def found(*addresses: str) -> Any:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in addresses]

    return getaddrinfo


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("93.184.216.34", "10.0.0.1")])
def test_a_name_that_points_inside_is_refused(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", found(*addresses))

    assert refused(WebhookChannel("https://hooks.example/x")).permanent


def test_the_connection_goes_to_the_very_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", found("93.184.216.34"))
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(204)

    channel = WebhookChannel(
        "https://hooks.example:8443/x?y=1", transport=httpx.MockTransport(handle)
    )
    assert channel.deliver(CHANGE) == "204"
    (request,) = sent
    assert str(request.url) == "https://93.184.216.34:8443/x?y=1"
    assert request.headers["Host"] == "hooks.example:8443"
    assert request.extensions["sni_hostname"] == "hooks.example"


def test_a_name_that_does_not_resolve_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = refused(WebhookChannel("https://hooks.example/x"))

    assert not error.permanent
    assert "does not resolve" in str(error)


@pytest.mark.parametrize("url", ["http://[::1", "http://a\x00b/", "http://a:b/"])
def test_what_is_no_url_is_refused_for_good(url: str) -> None:
    assert refused(WebhookChannel(url, allow_private=True)).permanent


def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert WebhookChannel(receiver.url, allow_private=True).deliver(CHANGE) == "200"


def test_the_settings_choose_the_channels() -> None:
    hook = {"webhook": {"url": "https://hooks.example/x"}}

    assert [c.name for c in ways.of_settings(Settings())] == ["log"]
    assert [c.name for c in ways.of_settings(Settings.model_validate({"notify": hook}))] == [
        "log", "webhook",
    ]  # fmt: skip
