"""The routes of coming and going: login, logout, who one is, and what was written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio.to_thread
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from outrider.errors import BadArgument
from outrider.web.access import page, record
from outrider.web.access.gate import LOGIN, LOGOUT, Gate, address_of, form_of, safe_path
from outrider.web.access.people import TooOften, Wrong
from outrider.web.access.roles import ANYONE, OPERATOR, VIEWER, requires

if TYPE_CHECKING:
    from starlette.requests import Request

    from outrider.web.access.people import Person

_MOST_ENTRIES = 1_000


def routes() -> list[Route]:
    """Return what belongs to the door."""
    return [
        Route(LOGIN, _login, methods=["GET", "POST"]),
        Route(LOGOUT, _logout, methods=["GET", "POST"]),
        Route("/api/me", _me),
        Route("/api/access", _access),
    ]


@requires(ANYONE)
async def _login(request: Request) -> Response:
    gate = gate_of(request)
    home = f"{gate.door.root_path}/"
    if request.method != "POST":
        onward = safe_path(request.query_params.get("next", home))
        return _form(gate, onward, status=200)
    given = form_of(await request.body())
    onward = safe_path(given.get("next") or home)
    name, password = given.get("user", ""), given.get("password", "")
    try:
        person = await gate.people.by_password(name, password, address_of(request.scope))
    except TooOften as often:
        await gate.was_often(request.scope)
        return gate.too_often(request.scope, often)
    except Wrong as wrong:
        await gate.was_wrong(request.scope, wrong)
        what = "user or password" if gate.people.has_passwords else "token"
        return _form(gate, onward, status=401, problem=f"This {what} is not right.")
    await gate.logged_in(request.scope, person)
    return gate.begin(request.scope, person, onward)


def _form(gate: Gate, onward: str, *, status: int, problem: str = "") -> Response:
    return page.login(
        action=gate.door.root_path + LOGIN, onward=onward, passwords=gate.people.has_passwords,
        status=status, problem=problem,
    )  # fmt: skip


@requires(VIEWER)
async def _logout(request: Request) -> Response:
    gate, person = gate_of(request), person_of(request)
    home = f"{gate.door.root_path}/"
    if request.method != "POST":
        return page.logout(
            action=gate.door.root_path + LOGOUT, back=home, csrf=person.csrf or "",
            name=person.name,
        )  # fmt: skip
    await gate.end(person)
    await gate.record.keep(
        "logout", who=person.name, role=person.role, address=address_of(request.scope), result="ok"
    )
    answer = RedirectResponse(gate.door.root_path + LOGIN, status_code=303)
    answer.delete_cookie(
        gate.cookie(request.scope), path=gate.door.root_path or "/", httponly=True,
        samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@requires(VIEWER)
async def _me(request: Request) -> Response:
    person = person_of(request)
    until_s = person.session.expires_s if person.session else None
    return JSONResponse(
        {"user": person.name, "role": person.role, "csrf": person.csrf, "until_s": until_s}
    )


@requires(OPERATOR)
async def _access(request: Request) -> Response:
    """Tell who came and what they did; with ``refused=1`` whom we turned away."""
    asked = request.query_params
    most = asked.get("most", "100")
    if not (most.isascii() and most.isdigit() and 1 <= int(most[:9]) <= _MOST_ENTRIES):
        raise BadArgument(f"most = {most[:40]!r}: give a number from 1 to {_MOST_ENTRIES}.")
    client = request.app.state.source.client
    found = await anyio.to_thread.run_sync(
        lambda: record.read(client, int(most), refusals=asked.get("refused") == "1")
    )
    return JSONResponse({"entries": found})


def gate_of(request: Request) -> Gate:
    """Return the gate that a request came through."""
    return cast("Gate", request.state.gate)


def person_of(request: Request) -> Person:
    """Return who asks. Only of routes that not anyone may use."""
    return cast("Person", request.state.person)
