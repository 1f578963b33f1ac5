"""Nothing is shown to whoever lacks the token, on any route."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import BadArgument
from outrider.store import keys
from outrider.web.access.sessions import Signer
from outrider.web.app import assemble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Message

    from tests.unit.web.conftest import Fleet, Visitor


@pytest.mark.parametrize(
    "path", ["/unknown", "http://testserver//healthz", "/healthz/", "/healthz%2f..", "//login"]
)
def test_what_only_looks_like_an_open_path_is_closed(stranger: Visitor, path: str) -> None:
    assert stranger.get(path).status_code == 401


def test_health_is_open(stranger: Visitor) -> None:
    assert stranger.get("/healthz").status_code == 200


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(
    stranger: Visitor, token: str
) -> None:
    answer = stranger.get(f"/?token={token}&view=all")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?view=all")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token.lower() not in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example/", "///evil.example"])
def test_the_token_never_sends_a_visitor_to_another_host(
    stranger: Visitor, token: str, path: str
) -> None:
    answer = stranger.get(f"http://testserver{path}?token={token}")
    location = answer.headers["location"]
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))


def test_bearer_and_basic_are_taken(stranger: Visitor, token: str) -> None:
    basic = base64.b64encode(f"anyone:{token}".encode()).decode()
    for value in (f"Bearer {token}", f"bearer {token}", f"Basic {basic}"):
        assert stranger.get("/api/status", headers={"Authorization": value}).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"user:wrong").decode(),
        "Digest x",
        "Bearer \xff\xfe",
    ],
)
def test_other_authorizations_are_refused(stranger: Visitor, value: str) -> None:
    headers = {"Authorization": value.encode("latin-1")}
    assert stranger.get("/api/status", headers=headers).status_code == 401


def test_a_wrong_cookie_or_token_is_refused(stranger: Visitor, token: str) -> None:
    name = Signer(token.encode()).cookie
    for cookie in (f"{name}={token}", f"{name}=", f"{name}=\xff", "a,b;;=", "other=1"):
        headers = {"Cookie": cookie.encode("latin-1")}
        assert stranger.get("/", headers=headers).status_code == 401
    assert stranger.get("/?token=wrong").status_code == 401


def test_a_browser_gets_a_page_that_says_where_the_token_is(stranger: Visitor) -> None:
    answer = stranger.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "outrider up" in answer.text
    assert 'method="post"' in answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_every_answer_carries_the_strict_headers(owner: Visitor) -> None:
    for path in (
        "/",
        "/healthz",
        "/readyz",
        "/api/status",
        "/metrics",
        "/static/dashboard.js",
        "/no",
    ):
        headers = owner.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (
            headers["x-content-type-options"],
            headers["x-frame-options"],
            headers["referrer-policy"],
        ) == ("nosniff", "DENY", "no-referrer")


def test_only_reading_is_possible(owner: Visitor) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert owner.request(method, "/api/status").status_code == 405


def test_a_token_that_could_be_guessed_is_refused(fleet: Fleet) -> None:
    with pytest.raises(BadArgument, match="at least 16"):
        assemble(fleet.source(), token="")


def test_a_link_that_somebody_follows_shows_a_page(owner: Visitor) -> None:
    followed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert owner.get("/", headers=followed).status_code == 200
    framed = followed | {"Sec-Fetch-Dest": "iframe"}
    assert owner.get("/", headers=framed).status_code == 403


def test_an_address_typed_by_hand_shows_a_page(owner: Visitor) -> None:
    assert owner.get("/", headers={"Sec-Fetch-Site": "none"}).status_code == 200


def test_an_origin_that_the_settings_name_is_ours(
    opened: Callable[..., Visitor], token: str
) -> None:
    headers = {"Origin": "https://ops.example.com", "Authorization": f"Bearer {token}"}
    assert opened().get("/api/me", headers=headers).status_code == 403
    door = {"origins": frozenset({"https://ops.example.com"})}
    assert opened(**door).get("/api/me", headers=headers).status_code == 200


def test_a_body_without_a_length_is_measured_as_it_comes(owner: Visitor) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1000

    assert owner.post("/api/actions/ack", content=chunks()).status_code == 413


def test_a_length_that_is_no_number_is_refused(owner: Visitor) -> None:
    for length in (b"1e9", b"-1", "\xb2".encode("latin-1"), b"9" * 5000):
        answer = owner.request("POST", "/login", headers={"Content-Length": length})
        assert answer.status_code in (400, 413), length


def test_a_websocket_is_closed(owner: Visitor) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/events", "headers": [], "query_string": b""}
    asyncio.run(owner.app(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_ten_wrong_tokens_a_minute_are_enough(stranger: Visitor, token: str, fleet: Fleet) -> None:
    wrong, right = ({"Authorization": f"Bearer {text}"} for text in ("x" * 20, token))
    for _ in range(10):
        assert stranger.get("/metrics", headers=wrong).status_code == 401
    answer = stranger.get("/metrics", headers=wrong)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    # A guess that would have been right is not told from a wrong one.
    assert stranger.get("/metrics", headers=right).status_code == 429
    assert stranger.get(f"/?token={token}").status_code == 429
    fleet.now_s += 61
    assert stranger.get("/metrics", headers=right).status_code == 200


def test_right_tokens_are_never_too_many(stranger: Visitor, token: str) -> None:
    for _ in range(30):
        answer = stranger.get("/api/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200


def test_refusals_are_written_down_once_a_minute_with_their_number(
    stranger: Visitor, fleet: Fleet
) -> None:
    def kept() -> list[dict[str, Any]]:
        return [json.loads(text) for text in fleet.shelf.held.get(keys.REFUSED, [])]

    headers = {"Origin": "https://evil.example"}
    for _ in range(5):
        stranger.get("/", headers=headers)
    assert [(one["what"], one["result"], one["address"]) for one in kept()] == [
        ("wrong origin", "403", "127.0.0.1")
    ]
    assert "evil.example" in kept()[0]["about"]
    fleet.now_s += 61
    stranger.get("/", headers=headers)
    assert kept()[0]["more_before"] == 4


def test_with_redis_away_the_door_works_and_the_log_has_the_record(
    stranger: Visitor, token: str, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.shelf.away = True
    assert stranger.get(f"/?token={token}").status_code == 303
    assert stranger.get("/api/me").json()["role"] == "operator"
    assert '"what": "login"' in caplog.text
    assert token not in caplog.text
