"""The middleware that every request passes: it answers itself, or lets the request through.

A browser may bring the token once in the address, gets a session and is sent on without it, so that
it does not stay in the history or leak in a Referer.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import urllib.parse
from typing import TYPE_CHECKING

import anyio.to_thread
import redis
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

from outrider.web.access import limits, oidc, origin, page, roles
from outrider.web.access.attempts import Attempts
from outrider.web.access.people import People, Person, TooOften, Wrong, cookie
from outrider.web.access.record import Record
from outrider.web.access.roles import SAFE_METHODS
from outrider.web.access.sessions import Revoked, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from outrider.clock import Clock
    from outrider.web.access.door import Door
    from outrider.web.access.roles import Need

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOGIN, LOGOUT = "/login", "/logout"
_PATIENCE_S = 0.5
_FORM = "application/x-www-form-urlencoded"


class Gate:
    """ASGI middleware. Sets ``request.state.person`` for what it lets through."""

    def __init__(
        self, app: ASGIApp, *, routes: Sequence[BaseRoute], door: Door, token: str,
        client: redis.Redis, clock: Clock,
    ) -> None:  # fmt: skip
        self._app, self._routes = app, routes
        self.door, self.clock = door, clock
        self.people = People(door, token=token, attempts=Attempts(clock), clock=clock)
        self.revoked = Revoked(client, clock)
        self.record = Record(client, clock)
        self._refreshing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through, one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        scope = self._placed(scope)
        read, answer = b"", None
        try:
            limits.measure(scope, Headers(scope=scope))
            if scope["method"] not in SAFE_METHODS:
                read = await limits.body(receive)
                receive = limits.again(read, receive)
            answer = await self._answer(scope, read)
        except limits.TooMuch as much:
            await self._refused(scope, "too much", about=str(much), status=much.status)
            answer = self.said(scope, much.status, str(much))
        await (answer or self._app)(scope, receive, with_headers)

    def _placed(self, scope: Scope) -> Scope:
        """Return a scope that knows its root, whether the proxy takes that off or not."""
        root, path = self.door.root_path, scope["path"]
        if root and path != root and not path.startswith(f"{root}/"):
            path = root + path
        return {**scope, "root_path": root, "path": path, "state": {"gate": self}}

    async def _answer(self, scope: Scope, read: bytes) -> Response | None:
        """Return what to say instead of the page, or None to let the request through."""
        headers = Headers(scope=scope)
        sender = origin.foreign(headers, scope["method"], self.door.origins)
        if sender:
            await self._refused(scope, "wrong origin", about=sender, status=403)
            text = (
                f"This was sent by another site ({sender}). Behind a proxy that does not pass on "
                "Host, name the dashboard's address in dashboard.origins."
            )
            return self.said(scope, 403, text)
        need = roles.needed(self._routes, scope)
        if need == roles.ANYONE:
            return None
        known = await self._visitor(scope, headers)
        if isinstance(known, Response):
            return known
        return await self._may(scope, headers, read, known, need)

    async def _visitor(self, scope: Scope, headers: Headers) -> Person | Response:
        """Return who asks, or what to say to somebody who is not known."""
        offered, rest = _taken_out(scope, "token")
        try:
            if offered is not None and scope["method"] in SAFE_METHODS:
                person = self.people.by_token(offered, address_of(scope))
                await self.logged_in(scope, person)
                return self.begin(scope, person, _onward(scope, rest))
            known = await self._known(scope, headers)
        except TooOften as often:
            await self.was_often(scope)
            return self.too_often(scope, often)
        except Wrong as wrong:
            await self.was_wrong(scope, wrong)
            known = None
        return known or self.locked(scope, rest)

    async def _known(self, scope: Scope, headers: Headers) -> Person | None:
        """Return who asks, by a session first. Raises Wrong, TooOften."""
        if value := cookie(headers, self.cookie(scope)):
            person = self.people.by_cookie(value)
            if person is not None and await self.holds(person):
                return person
        if value := headers.get("authorization", ""):
            return await self.people.by_authorization(value, address_of(scope))
        return None

    async def _may(
        self, scope: Scope, headers: Headers, read: bytes, person: Person, need: Need
    ) -> Response | None:
        if not roles.allows(person.role, need):
            await self._refused(scope, "role", about=scope["path"], status=403, who=person.name)
            text = f"{person.name} is a {person.role}; this needs an {need}."
            return self.said(scope, 403, text)
        if scope["method"] not in SAFE_METHODS and person.csrf is not None:
            carried = headers.get(origin.HEADER) or _form(headers, read).get(origin.FIELD, "")
            if not same(carried, person.csrf):
                await self._refused(scope, "csrf", about=scope["path"], status=403, who=person.name)
                text = "The header X-Outrider-CSRF must hold what GET /api/me tells as csrf."
                return self.said(scope, 403, text)
        scope["state"]["person"] = person
        return None

    async def holds(self, person: Person) -> bool:
        """Tell whether a person's session, if they are here by one, is neither over nor ended."""
        if person.session is None:
            return True
        if self.revoked.is_old:
            await self._refreshed()
        return person.session.expires_s > self.clock.now() and person.session not in self.revoked

    async def end(self, person: Person) -> None:
        """End a person's session, here at once and elsewhere within seconds."""
        if person.session is None:
            return
        self.revoked.add(person.session)
        await self._refreshed()

    async def _refreshed(self) -> None:
        """Exchange ended sessions with the other dashboards; a frozen Redis holds nobody up."""

        async def refresh() -> None:
            with contextlib.suppress(redis.RedisError, OSError):
                await anyio.to_thread.run_sync(self.revoked.refresh)

        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(refresh())
        await asyncio.wait({self._refreshing}, timeout=_PATIENCE_S)

    def cookie(self, scope: Scope) -> str:
        """Return the cookie's name; with the prefix that keeps neighbours from setting it."""
        prefix = "__Host-" if _is_https(scope) and not self.door.root_path else ""
        return prefix + self.people.signer.cookie

    def begin(
        self, scope: Scope, person: Person, onward: str, answer: Response | None = None
    ) -> Response:
        """Return the answer that begins a session and leads on."""
        session, value = self.people.cookie_of(person)
        answer = answer or RedirectResponse(onward, status_code=303)
        answer.set_cookie(
            self.cookie(scope), value, httponly=True, samesite="strict",
            secure=_is_https(scope), path=self.door.root_path or "/",
            max_age=max(0, session.expires_s - int(self.clock.now())),
        )  # fmt: skip
        return answer

    def locked(self, scope: Scope, query: str = "", *, problem: str = "") -> Response:
        """Return what somebody sees who is not known."""
        # Basic would make a browser ask in a dialog of its own, in front of our page.
        challenge = {"WWW-Authenticate": 'Bearer realm="Outrider"'}
        if _wants_page(scope):
            answer = self.form(_onward(scope, query), problem=problem)
            answer.headers.update(challenge)
            return answer
        text = (
            "A token or a session is needed: send `Authorization: Bearer TOKEN`. "
            "`outrider up` prints it."
        )
        return JSONResponse({"error": problem or text}, 401, challenge)

    def form(self, onward: str, *, status: int = 401, problem: str = "") -> Response:
        """Return the page that asks who one is."""
        root, provider = self.door.root_path, ""
        if self.people.oidc:
            provider = f"{root}{oidc.BEGIN}?{urllib.parse.urlencode({'next': onward})}"
        return page.login(
            action=root + LOGIN, onward=onward, passwords=self.people.has_passwords,
            token=self.people.has_token, provider=provider, status=status, problem=problem,
        )  # fmt: skip

    def too_often(self, scope: Scope, often: TooOften) -> Response:
        """Return what an address hears that was wrong too often."""
        text = f"Too many attempts. {often}"
        answer = self.said(scope, 429, text)
        answer.headers["Retry-After"] = str(max(1, math.ceil(often.retry_after_s)))
        return answer

    def said(self, scope: Scope, status: int, text: str) -> Response:
        """Return a refusal, as a page for people and as JSON for programs."""
        if _wants_page(scope):
            return page.refused(status, text, f"{self.door.root_path}/")
        return JSONResponse({"error": text}, status)

    async def logged_in(self, scope: Scope, person: Person) -> None:
        """Write a login down."""
        await self.record.keep(
            "login", who=person.name, role=person.role, address=address_of(scope),
            about=f"by {person.how}", result="ok",
        )  # fmt: skip

    async def was_wrong(self, scope: Scope, wrong: Wrong) -> None:
        """Write down that what somebody offered was not right."""
        await self._refused(scope, "login", about=scope["path"], status=401, who=wrong.name)

    async def was_often(self, scope: Scope) -> None:
        """Write down that an address was told to wait."""
        await self._refused(scope, "too many attempts", about=scope["path"], status=429)

    async def _refused(
        self, scope: Scope, what: str, *, about: str, status: int, who: str = ""
    ) -> None:
        await self.record.refused(
            what, who=who, address=address_of(scope), about=f"{scope['method']} {about}",
            result=str(status),
        )  # fmt: skip


def address_of(scope: Scope) -> str:
    """Return where a request comes from; behind a proxy that is believed, what it says."""
    client = scope.get("client")
    return str(client[0]) if client else "local"


def _is_https(scope: Scope) -> bool:
    return scope.get("scheme") == "https"


def _wants_page(scope: Scope) -> bool:
    return "text/html" in Headers(scope=scope).get("accept", "")


def _form(headers: Headers, read: bytes) -> dict[str, str]:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return {}
    return form_of(read)


def form_of(read: bytes) -> dict[str, str]:
    """Return the fields of a form's body; of two with one name, the last. Empty when it is none."""
    try:
        pairs = urllib.parse.parse_qsl(
            read.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20
        )
    except ValueError:
        return {}
    return dict(pairs)


def _taken_out(scope: Scope, name: str) -> tuple[str | None, str]:
    """Return the value of a query's field, and the query without it."""
    query = urllib.parse.parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    offered = [value for key, value in query if key == name]
    rest = [pair for pair in query if pair[0] != name]
    return (offered[0] if offered else None), urllib.parse.urlencode(rest)


def _onward(scope: Scope, query: str) -> str:
    return safe_path(urllib.parse.quote(scope["path"]) + (f"?{query}" if query else ""))


def safe_path(target: str) -> str:
    """Return a target within this site, whatever was asked for.

    >>> safe_path("//evil.example/x"), safe_path("/ops/bots?of=canary")
    ('/evil.example/x', '/ops/bots?of=canary')
    """
    path, mark, query = target.partition("?")
    # One slash only: a path of two would be taken for another host's address. Browsers take a
    # backslash for a slash, and leave out tabs and line ends.
    shown = "/" + urllib.parse.quote(path.lstrip("/\\ \t\r\n"), safe="/%:@~!$&'()*+,;=-._")
    return shown + mark + urllib.parse.quote(query, safe="/%:@~!$&'()*+,;=-._?")
