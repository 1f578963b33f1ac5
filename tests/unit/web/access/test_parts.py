"""The door's small parts alone: attempts, roles, the record's bounds, addresses under a root."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from outrider.store import keys
from outrider.web import access
from outrider.web.access import record, roles
from outrider.web.access.attempts import MOST, MOST_ADDRESSES, Attempts
from outrider.web.access.gate import safe_path
from tests.unit.web.access.conftest import PASSWORD, log_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.web.conftest import Fleet, Visitor


def test_attempts_of_an_ipv6_customer_count_together(fleet: Fleet) -> None:
    attempts = Attempts(fleet)
    for number in range(MOST):
        attempts.count(f"2001:db8:0:7::{number:x}")
    assert attempts.blocked_s("2001:db8:0:7:ffff::1") == 60.0
    assert attempts.blocked_s("2001:db8:0:8::1") == 0.0


def test_attempts_from_many_addresses_hold_no_memory(fleet: Fleet) -> None:
    attempts = Attempts(fleet)
    for number in range(MOST_ADDRESSES + 500):
        attempts.count(f"address {number}")
    assert len(attempts._failed) == MOST_ADDRESSES


def test_a_route_that_declares_nothing_is_closed_to_strangers_and_changes_to_viewers() -> None:
    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("")

    @access.requires(access.ANYONE)
    async def public(request: Any) -> PlainTextResponse:
        return PlainTextResponse("")

    routes = [
        Route("/plain", plain, methods=["GET", "POST"]),
        Route("/open", public, methods=["GET"]),
    ]

    def needed(method: str, path: str) -> str:
        return roles.needed(routes, {"type": "http", "method": method, "path": path})

    assert needed("GET", "/plain") == "viewer"
    assert needed("POST", "/plain") == "operator"
    assert needed("GET", "/open") == "anyone"
    assert needed("POST", "/open") == "operator"
    assert needed("BREW", "/nowhere") == "operator"


def test_the_record_is_bounded_in_number_and_length(fleet: Fleet) -> None:
    client: Any = fleet.shelf
    kept = record.Record(client, fleet)

    async def fill() -> None:
        for number in range(record.KEPT + 5):
            await kept.keep("x" * 9999, who=str(number), address="a", result="ok")
        for number in range(record.KEPT + 5):
            await kept.refused("x", who="", address=str(number), about="", result="401")

    asyncio.run(fill())
    for key in (keys.ACCESS, keys.REFUSED):
        assert len(fleet.shelf.held[key]) == record.KEPT
    entry = json.loads(fleet.shelf.held[keys.ACCESS][0])
    assert (entry["who"], len(entry["what"])) == (str(record.KEPT + 4), record.LONGEST)


@given(st.text(max_size=30))
def test_a_safe_path_stays_here(target: str) -> None:
    if any("\ud800" <= sign <= "\udfff" for sign in target):
        return
    path = safe_path(target)
    assert path.startswith("/")
    assert path[1:2] not in ("/", "\\")
    assert path.isascii()
    assert path.isprintable()
    assert " " not in path


@pytest.mark.parametrize("prefix", ["", "/ops"], ids=["taken off", "passed on"])
def test_under_a_proxys_path_everything_is_found_and_linked(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], prefix: str
) -> None:
    visitor = opened(users=users, root_path="/ops")
    page = visitor.get(f"{prefix}/series?host=a", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'action="/ops/login"' in page.text
    assert 'value="/ops/series?host=a"' in page.text

    form = {"user": "ann", "password": PASSWORD, "next": "/ops/series?host=a"}
    answer = visitor.post("http://testserver/ops/login", data=form)

    assert answer.headers["location"] == "/ops/series?host=a"
    assert "path=/ops" in answer.headers["set-cookie"].lower()
    name, value = next(iter(visitor._client.cookies.items()))
    headers = {"Cookie": f"{name}={value}"}
    text = visitor.get(f"{prefix}/", headers=headers).text
    assert 'href="/ops/series"' in text
    assert 'href="/series"' not in text
    assert 'src="/ops/static/dashboard.js"' in text
    assert visitor.get(f"{prefix}/static/dashboard.js", headers=headers).status_code == 200
    assert visitor.get(f"{prefix}/api/openapi.json", headers=headers).json()["servers"] == [
        {"url": "/ops"}
    ]
    assert visitor.get("/opsies", headers=headers).status_code == 404


def test_a_role_that_is_not_enough_is_told_in_words(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    log_in(visitor, "vic")
    said = visitor.get("/api/access")
    assert (said.status_code, said.json()) == (
        403,
        {"error": "vic is a viewer; this needs an operator."},
    )
