from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from outrider.errors import RedisRefused, RedisUnavailable
from outrider.store import connection
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with Server(password="hunter2") as server:
        yield server


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Listen on a port and answer whatever is said with the same bytes."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                while peer.recv(4096):
                    peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def info(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


def test_a_server_that_answers_is_named(valkey_url: str) -> None:
    assert connection.check(valkey_url).startswith("Valkey ")


def test_the_right_password_opens(guarded: Server) -> None:
    assert connection.check(guarded.url).startswith("Valkey ")


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_or_missing_password_is_refused_for_good(password: str, guarded: Server) -> None:
    url = guarded.url.replace("hunter2", password) if password else guarded.url.split("@")[1]
    with pytest.raises(RedisRefused, match="put it into the address") as caught:
        connection.check(url if password else f"redis://{url}")

    assert caught.value.permanent
    assert "wrong" not in str(caught.value)
    assert f"127.0.0.1:{guarded.port}" in str(caught.value)


def test_a_user_without_permission_is_refused_for_good(guarded: Server) -> None:
    with connection.connect(guarded.url) as client:
        client.execute_command("ACL", "SETUSER", "bot", "on", ">pw", "~*", "+get")
    with pytest.raises(RedisRefused, match="permissions"):
        connection.check(guarded.url.replace(":hunter2", "bot:pw"))


def test_a_port_where_nobody_listens_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RedisUnavailable, match="does not answer") as caught:
        connection.check(f"redis://:hunter2@127.0.0.1:{port}/0")

    assert not caught.value.permanent
    assert type(caught.value) is RedisUnavailable
    assert "hunter2" not in str(caught.value)


def test_a_frozen_server_is_given_up() -> None:
    with Server() as server:
        server.freeze()
        with pytest.raises(RedisUnavailable, match="does not answer") as caught:
            connection.check(server.url, timeout_s=0.2)

    assert not caught.value.permanent


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://host",
        "redis://:hunter2@host:port/0",
        "redis://:hunter2/@host/0",
        "redis://:hunter2@[::1/0",
        "redis://:6379:hunter2@h/x",
    ],
)
def test_what_is_no_address_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(RedisUnavailable) as caught:
        connection.check(url)

    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_too_old_is_refused_for_good() -> None:
    with (
        answering(info("redis_version:6.0.16")) as url,
        pytest.raises(RedisRefused, match=r"6\.0\.16; 6\.2 or later is needed"),
    ):
        connection.check(url)


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "10.0.0"])
def test_a_server_that_is_new_enough_is_taken(version: str) -> None:
    with answering(info(f"redis_version:{version}")) as url:
        assert f"Redis {version}" == connection.check(url)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n"])
def test_what_is_no_redis_is_refused(answer: bytes) -> None:
    with answering(answer) as url, pytest.raises(RedisRefused):
        connection.check(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:hunter2@h/0", "redis://***@h/0"),
        ("rediss://user:hunter2@h/0?x=1", "rediss://***@h/0?x=1"),
        ("redis://:hunter2/@h/0", "redis://***@h/0"),
        ("redis://:hun@ter2@h/0", "redis://***@h/0"),
        ("redis://:hunter2@[::1/0", "redis://***@[::1/0"),
        ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
        ("unix:///run/redis.sock?password=hunter2", "unix:///run/redis.sock?password=***"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown == connection.without_password(url)
