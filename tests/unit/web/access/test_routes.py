"""Every route of the app's own table refuses whom it must, by each of its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from starlette.routing import Mount, Route

from outrider.web.access import limits
from tests.unit.web.access.conftest import log_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.web import access
    from tests.unit.web.conftest import Fleet, Visitor

# Health is asked by machines that have no token, and the login must be reached by strangers.
LOGINS = ("/login", "/login/oidc", "/login/oidc/callback")
OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/login")} | {
    ("GET", path) for path in LOGINS
}
STREAMS = {"/events"}


def table(visitor: Visitor) -> Iterator[tuple[str, str]]:
    """Yield each method and path of the app."""
    for route in visitor.app.routes:
        if isinstance(route, Mount):
            yield "GET", route.path + "/dashboard.js"
        elif isinstance(route, Route):
            path = route.path.replace("{what}", "restart")
            yield from ((method, path) for method in sorted((route.methods or set()) - {"HEAD"}))
    yield from [("GET", "/unknown"), ("POST", "/unknown"), ("DELETE", "/"), ("PUT", "/api/me")]


def test_the_table_is_whole(stranger: Visitor) -> None:
    paths = {path for _, path in table(stranger)}
    assert paths >= {"/", "/events", "/api/status", "/metrics", "/api/me", "/logout"}
    assert ("POST", "/api/actions/restart") in set(table(stranger))


def test_whoever_is_not_known_is_refused(stranger: Visitor) -> None:
    for method, path in table(stranger):
        if (method, path) not in OPEN:
            assert stranger.request(method, path).status_code == 401, (method, path)


def test_whose_session_is_over_is_refused(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], fleet: Fleet
) -> None:
    visitor = opened(users=users, session_s=600)
    log_in(visitor)
    fleet.now_s += 599
    assert visitor.get("/api/me").status_code == 200
    fleet.now_s += 2
    for method, path in table(visitor):
        if (method, path) not in OPEN:
            assert visitor.request(method, path).status_code == 401, (method, path)


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_what_another_site_sends_is_refused(owner: Visitor, sent: dict[str, str]) -> None:
    for method, path in table(owner):
        assert owner.request(method, path, headers=sent).status_code == 403, (method, path)


def test_our_own_pages_are_not_another_site(owner: Visitor) -> None:
    ours = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    for method, path in table(owner):
        if path not in STREAMS | {"/login"}:
            answer = owner.request(method, path, headers=ours)
            assert answer.status_code not in (401, 403), (method, path)


def test_what_is_too_large_is_refused(owner: Visitor) -> None:
    big = b"x" * (limits.LARGEST_BODY + 1)
    for method, path in table(owner):
        assert owner.request(method, path, content=big).status_code == 413, (method, path)
        long = f"{path}?a={'b' * limits.LONGEST_ADDRESS}"
        assert owner.request(method, long).status_code == 414, (method, path)


def test_a_viewer_may_look_and_change_nothing(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    csrf = log_in(visitor, "vic")
    for method, path in table(visitor):
        if (method, path) in OPEN or path in STREAMS | {"/logout"}:
            continue
        status = visitor.request(method, path, headers={"X-Outrider-CSRF": csrf}).status_code
        expected = method != "GET" or path == "/api/access"
        assert (status == 403) is expected, (method, path, status)


def test_what_changes_something_needs_its_token_besides_the_cookie(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    csrf = log_in(visitor)
    for method, path in table(visitor):
        if method == "GET" or (method, path) in OPEN:
            continue
        for wrong in ({}, {"X-Outrider-CSRF": ""}, {"X-Outrider-CSRF": csrf[:-1] + "\xe9"}):
            headers = {name: value.encode("latin-1") for name, value in wrong.items()}
            assert visitor.request(method, path, headers=headers).status_code == 403, path
