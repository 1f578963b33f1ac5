"""A session is what its cookie says, as long as we wrote it, until it ends or is ended."""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.web.access.sessions import Session, Signer
from tests.unit.web.access.conftest import PASSWORD, cheap, log_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message

    from outrider.web import access
    from tests.unit.web.conftest import Fleet, Visitor

KEY = b"k" * 32


@given(user=st.text(max_size=40), proof=st.text(max_size=20), expires=st.integers(0, 10**12))
def test_a_cookie_is_read_as_it_was_written(user: str, proof: str, expires: int) -> None:
    if any("\ud800" <= sign <= "\udfff" for sign in user + proof):
        return
    signer, session = Signer(KEY), Session(user, "password", expires, "a" * 32)
    value = signer.write(session, proof)
    assert signer.claimed(value) == session
    assert signer.believes(value, proof)
    assert not signer.believes(value, proof + "x")
    assert not Signer(b"another").believes(value, proof)


@given(st.text(max_size=60))
def test_whatever_a_cookie_holds_is_read_or_refused(value: str) -> None:
    signer = Signer(KEY)
    signer.claimed(value)
    assert not signer.believes(value, "")


def test_no_part_of_a_cookie_can_be_changed() -> None:
    signer = Signer(KEY)
    session = Session("vic", "password", 1_800_000_000, "ab" * 16)
    value = signer.write(session, "proof")
    signature = value.rpartition(".")[2]
    for other in (
        replace(session, user="ann"),
        replace(session, how="token"),
        replace(session, expires_s=session.expires_s + 1),
        replace(session, id="cd" * 16),
    ):
        said = signer.write(other, "proof").rpartition(".")[0]
        assert not signer.believes(f"{said}.{signature}", "proof")


def cookie_of(visitor: Visitor) -> tuple[str, str]:
    ((name, value),) = visitor._client.cookies.items()
    return name, value


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    form = {"user": "ann", "password": PASSWORD}
    plain = opened(users=users).post("/login", data=form).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= set(plain.split("; "))
    assert "secure" not in plain
    visitor = opened(users=users)
    over_tls = visitor.post("https://testserver/login", data=form).headers["set-cookie"]
    assert over_tls.startswith("__Host-outrider_")
    assert "secure" in over_tls.lower().split("; ")
    assert visitor.get("https://testserver/api/me").status_code == 200


def test_logging_out_ends_the_session_even_for_who_kept_the_cookie(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], fleet: Fleet
) -> None:
    visitor, other = opened(users=users), opened(users=users)
    csrf = log_in(visitor)
    name, value = cookie_of(visitor)
    kept = {"Cookie": f"{name}={value}"}
    assert other.get("/api/me", headers=kept).status_code == 200

    answer = visitor.post("/logout", headers={"X-Outrider-CSRF": csrf})

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert visitor.get("/api/me", headers=kept).status_code == 401
    fleet.now_s += 6  # another dashboard hears of it within five seconds
    assert other.get("/api/me", headers=kept).status_code == 401


def test_a_logout_without_redis_holds_here_and_is_told_later(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], fleet: Fleet
) -> None:
    visitor, other = opened(users=users), opened(users=users)
    csrf = log_in(visitor)
    name, value = cookie_of(visitor)
    kept = {"Cookie": f"{name}={value}"}
    fleet.shelf.away = True
    visitor.post("/logout", headers={"X-Outrider-CSRF": csrf})
    assert visitor.get("/api/me", headers=kept).status_code == 401
    fleet.shelf.away = False
    fleet.now_s += 6
    visitor.get("/api/me", headers=kept)
    fleet.now_s += 6
    visitor.get("/api/me", headers=kept)
    assert other.get("/api/me", headers=kept).status_code == 401


def test_a_frozen_redis_holds_no_request_up_for_long(
    opened: Callable[..., Visitor],
    users: tuple[access.User, ...],
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visitor = opened(users=users)
    log_in(visitor)
    fleet.now_s += 6
    frozen = threading.Event()
    monkeypatch.setattr(fleet.shelf, "zremrangebyscore", lambda *_: frozen.wait(60))
    try:
        assert visitor.get("/api/me").status_code == 200
        assert not frozen.is_set()
    finally:
        frozen.set()


def test_logging_out_works_without_a_script(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    log_in(visitor)
    text = visitor.get("/logout").text
    found = re.search(r'name="csrf" value="(\w+)"', text)
    assert found
    assert visitor.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert visitor.post("/logout", data={"csrf": found[1]}).status_code == 303
    assert visitor.get("/api/me").status_code == 401


def test_a_changed_password_or_a_removed_user_ends_sessions(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    log_in(visitor)
    name, value = cookie_of(visitor)
    kept = {"Cookie": f"{name}={value}"}
    ann, vic = users
    assert opened(users=users).get("/api/me", headers=kept).status_code == 200
    for changed in ((vic,), (replace(ann, password_hash=cheap("other words")), vic)):
        assert opened(users=changed).get("/api/me", headers=kept).status_code == 401
    lower = opened(users=(replace(ann, role="viewer"), vic)).get("/api/me", headers=kept)
    assert lower.json()["role"] == "viewer"


def test_a_stream_ends_with_its_session(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], fleet: Fleet
) -> None:
    visitor = opened(users=users, session_s=600)
    log_in(visitor)
    name, value = cookie_of(visitor)
    scope = {
        "type": "http", "method": "GET", "path": "/events", "raw_path": b"/events",
        "query_string": b"", "headers": [(b"cookie", f"{name}={value}".encode())],
        "client": ("127.0.0.1", 1), "scheme": "http",
    }  # fmt: skip
    sent: list[bytes] = []

    async def watch() -> None:
        never = asyncio.Event()

        async def receive() -> dict[str, object]:
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(bytes(message.get("body", b"")))
            if b"retry" in sent[-1]:
                fleet.now_s += 601

        async with asyncio.timeout(20):
            await visitor.app(scope, receive, send)

    visitor._runner.run(watch())
    assert sent[-1] == b""
    assert not any(b"data:" in part for part in sent)


@pytest.mark.parametrize("key", ["", "token-of-a-test-0123456789"])
def test_without_a_token_a_restart_ends_sessions_and_with_one_it_does_not(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], key: str
) -> None:
    visitor = opened(users=users, key=key)
    log_in(visitor)
    name, value = cookie_of(visitor)
    again = opened(users=users, key=key).get("/api/me", headers={"Cookie": f"{name}={value}"})
    assert again.status_code == (200 if key else 401)
