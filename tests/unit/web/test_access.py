"""Nothing is shown to whoever lacks the token, on any route."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from starlette.routing import Mount, Route

from outrider.errors import BadArgument
from outrider.web import access
from outrider.web.app import assemble

if TYPE_CHECKING:
    from tests.unit.web.conftest import Fleet, Visitor

OPEN = {"/healthz", "/readyz"}


def test_every_route_but_health_needs_the_token(stranger: Visitor) -> None:
    app = stranger.app
    paths = [
        route.path + "/dashboard.js" if isinstance(route, Mount) else route.path
        for route in app.routes
        if isinstance(route, Route | Mount)
    ]
    assert {"/", "/events", "/api/status", "/metrics", "/static/dashboard.js"} <= {*paths}
    for path in [
        *paths,
        "/unknown",
        "http://testserver//healthz",
        "/healthz/",
        "/healthz%2f..",
    ]:
        expected = {200, 503} if path in OPEN else {401}
        assert stranger.get(path).status_code in expected, path


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
    name = access.Access(stranger.app, token=token).cookie
    for cookie in (f"{name}={token}", f"{name}=", f"{name}=\xff", "a,b;;=", "other=1"):
        headers = {"Cookie": cookie.encode("latin-1")}
        assert stranger.get("/", headers=headers).status_code == 401
    assert stranger.get("/?token=wrong").status_code == 401


def test_a_browser_gets_a_page_that_says_where_the_token_is(stranger: Visitor) -> None:
    answer = stranger.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "outrider up" in answer.text
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
