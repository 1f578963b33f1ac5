"""The routes of coming and going: login, logout, who one is, and what was written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio.to_thread
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from outrider.errors import BadArgument
from outrider.web.access import oidc, page, record
from outrider.web.access.gate import LOGIN, LOGOUT, Gate, address_of, form_of, safe_path
from outrider.web.access.people import TooOften, Wrong
from outrider.web.access.roles import ANYONE, OPERATOR, VIEWER, requires

if TYPE_CHECKING:
    from starlette.requests import Request

    from outrider.web.access.people import Person

_MOST_ENTRIES = 1_000
_NO_PROVIDER = "No provider is named in [dashboard.oidc]."


def routes() -> list[Route]:
    """Return what belongs to the door."""
    return [
        Route(LOGIN, _login, methods=["GET", "POST"]),
        Route(oidc.BEGIN, _provider),
        Route(oidc.CALLBACK, _callback),
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
        return gate.form(onward, status=200)
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
        return gate.form(onward, problem=f"This {what} is not right.")
    await gate.logged_in(request.scope, person)
    return gate.begin(request.scope, person, onward)


@requires(ANYONE)
async def _provider(request: Request) -> Response:
    """Send a browser to the provider, bound to this login by a cookie."""
    gate, provider = gate_of(request), gate_of(request).people.oidc
    if provider is None:
        return gate.said(request.scope, 404, _NO_PROVIDER)
    onward = safe_path(request.query_params.get("next", f"{gate.door.root_path}/"))
    try:
        url, begun = await provider.begin(onward)
    except oidc.ProviderFailed as error:
        return gate.form(onward, status=502, problem=str(error))
    answer = RedirectResponse(url, status_code=303)
    answer.set_cookie(
        _binding(gate), begun.binding, max_age=int(oidc.WITHIN_S), httponly=True, samesite="lax",
        secure=request.url.scheme == "https", path=gate.door.root_path + oidc.BEGIN,
    )  # fmt: skip
    return answer


@requires(ANYONE)
async def _callback(request: Request) -> Response:
    """Take what the provider sent back, and begin a session."""
    gate, scope = gate_of(request), request.scope
    home = f"{gate.door.root_path}/"
    if gate.people.oidc is None:
        return gate.said(scope, 404, _NO_PROVIDER)
    try:
        begun, person = await _came_back(request, gate.people.oidc)
    except TooOften as often:
        await gate.was_often(scope)
        return gate.too_often(scope, often)
    except oidc.LoginRefused as error:
        await gate.was_wrong(scope, Wrong(str(error)))
        return gate.form(home, problem=str(error))
    except oidc.ProviderFailed as error:
        return gate.form(home, status=502, problem=str(error))
    await gate.logged_in(scope, person)
    answer = gate.begin(scope, person, begun.onward, page.onward(begun.onward))
    answer.delete_cookie(_binding(gate), path=gate.door.root_path + oidc.BEGIN)
    return answer


async def _came_back(request: Request, provider: oidc.Oidc) -> tuple[oidc.Begun, Person]:
    gate, asked = gate_of(request), request.query_params
    begun = provider.take(asked.get("state", ""), request.cookies.get(_binding(gate), ""))
    if "code" not in asked:
        told = asked.get("error", "nothing")[:80]
        raise oidc.LoginRefused(f"The provider refuses the login: {told}.")
    address = address_of(request.scope)
    return begun, await gate.people.by_provider(begun, asked["code"], address)


def _binding(gate: Gate) -> str:
    return f"{gate.people.signer.cookie}_oidc"


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
