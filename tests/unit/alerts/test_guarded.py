from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpcore
import pytest

from outrider.alerts import guarded
from outrider.errors import DeliveryError
from tests.unit.alerts.channels.conftest import Receiver, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as receiver:
        yield receiver


def post(url: str, *, allow_private: bool = True) -> guarded.Answer:
    return guarded.post(url, b"{}", what="webhook", allow_private=allow_private)


def refused(url: str, *, allow_private: bool = True) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        post(url, allow_private=allow_private)
    return caught.value


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(500, False), (503, False), (408, False), (429, False), (400, True), (404, True), (410, True)],
)
def test_an_error_of_the_server_is_worth_another_try_and_one_of_ours_is_not(
    status: int, receiver: Receiver, *, permanent: bool
) -> None:
    receiver.status, receiver.body = status, b"no such hook"
    error = refused(receiver.url)

    assert permanent == error.permanent
    assert f"answered {status} no such hook" in str(error)


def test_what_the_server_asks_for_is_passed_on(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "17"}
    assert refused(receiver.url).retry_after_s == 17
    later = datetime.fromtimestamp(time.time() + 3600, UTC)
    receiver.headers = {"Retry-After": format_datetime(later, usegmt=True)}
    assert 3000 < (refused(receiver.url).retry_after_s or 0) <= 3600
    receiver.headers = {"Retry-After": "soon"}
    assert refused(receiver.url).retry_after_s is None


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
def test_a_redirect_is_not_followed(status: int, receiver: Receiver) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}

    assert refused(receiver.url).permanent
    assert len(receiver.seen) == 1


def test_an_answer_that_never_ends_is_not_read(receiver: Receiver) -> None:
    receiver.body = b"x" * (1 << 20)

    assert len(post(receiver.url).body) == guarded.MOST_BYTES


def test_nobody_there_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refused(f"http://127.0.0.1:{port}/secret")

    assert not error.permanent
    assert "did not answer" in str(error)
    assert "secret" not in str(error)


def test_an_answer_that_drips_ends_with_the_time_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarded, "TIMEOUT_S", 0.5)
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            while not ended.wait(0.05):
                try:
                    peer.sendall(b"X-A: b\r\n")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            error = refused(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            ended.set()
            thread.join()

    assert not error.permanent


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1",
        "192.168.1.1", "172.16.0.1", "100.64.0.1", "[::ffff:127.0.0.1]", "[fe80::1]", "[fc00::1]",
        "224.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]", "[fd00:ec2::254]", "255.255.255.255",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_for_good(host: str, receiver: Receiver) -> None:
    error = refused(f"http://{host}:{receiver.port}/hook", allow_private=False)

    assert error.permanent
    assert "allow_private" in str(error) or "Invalid IPv4" in str(error)
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

    assert refused("https://hooks.example/x", allow_private=False).permanent


def test_the_connection_goes_to_the_very_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    answers = iter([found("93.184.216.34"), found("127.0.0.1")])  # the name is rebound at once

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        return next(answers)()

    def connect_tcp(_: Any, host: str, port: int, *__: Any, **___: Any) -> Any:
        asked.append((host, port))
        raise httpcore.ConnectError("far away")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    assert "far away" in str(refused("https://hooks.example:8443/x", allow_private=False))

    assert asked == [("93.184.216.34", 8443)]


def test_a_name_that_does_not_resolve_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = refused("https://hooks.example/x", allow_private=False)

    assert not error.permanent
    assert "does not resolve" in str(error)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a\x00b/", "http://a:b/", "http:///x", "ftp://a/"]
)
def test_what_is_no_url_is_refused_for_good(url: str) -> None:
    assert refused(url).permanent


def test_a_name_and_password_of_the_address_are_sent(receiver: Receiver) -> None:
    post(f"http://me:p%40ss@127.0.0.1:{receiver.port}/")
    ((_, headers, _),) = receiver.seen

    assert headers["Authorization"] == "Basic bWU6cEBzcw=="


def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert post(receiver.url).status == 200
