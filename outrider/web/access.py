"""The door: one token opens everything, and every answer carries the same strict headers.

A browser brings the token once in the address, gets a cookie and is sent on without it, so that it
does not stay in the history or leak in a Referer. Programs send it as Bearer, or as the password
of Basic. The cookie holds a value derived from the token: cookies go to every port of a host, and
the token itself is no business of a neighbour.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import urllib.parse
from http import cookies
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
SHORTEST_TOKEN = 16
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
# A browser without a cookie can't fetch our style sheet, so this page alone carries its own, and
# the policy names it by its hash.
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}
h1{font-size:1.4rem;margin:0 0 .5rem}p{margin:.5rem 0 1.25rem;opacity:.85}
label{display:block;font-weight:600;margin-bottom:.35rem}
form div{display:flex;gap:.5rem}
input{flex:1;min-width:0;font:inherit;padding:.5rem .7rem;border:1px solid #8888;
border-radius:.4rem}
button{font:inherit;font-weight:600;padding:.5rem 1.1rem;border:0;border-radius:.4rem;
background:#0072b2;color:#fff}
:focus-visible{outline:3px solid #56b4e9;outline-offset:2px}
"""
_LOCKED = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Outrider: a token is needed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head>
<body><main><h1>This dashboard needs its token</h1>
<p>Open the address that <code>outrider up</code> printed, or enter the token here.</p>
<form action="/" method="get"><label for="token">Token</label>
<div><input id="token" name="token" type="password" autocomplete="current-password" required>
<button>Open</button></div></form></main></body></html>
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_LOCKED_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def check(token: str) -> None:
    """Refuse a token that could be guessed.

    Raises:
        BadArgument: it is too short.
    """
    if len(token) < SHORTEST_TOKEN:
        raise BadArgument(
            f"the dashboard's token has {len(token)} characters; at least {SHORTEST_TOKEN} "
            "are needed: take secrets.token_urlsafe(32)."
        )


class Access:
    """ASGI middleware that lets in whoever has the token."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._cookie_value = hmac.digest(self._token, b"outrider cookie", "sha256").hex()
        # Two dashboards on one host share their cookies; a name of its own keeps both open.
        self.cookie = "outrider_" + hashlib.sha256(self._token).hexdigest()[:8]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through, one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = None if scope["path"] in OPEN_PATHS else self._answer(scope)
        await (answer or self._app)(scope, receive, with_headers)

    def _answer(self, scope: Scope) -> Response | None:
        """Return what to say instead of the page, or None to let the request through."""
        headers = Headers(scope=scope)
        query = urllib.parse.parse_qsl(scope["query_string"].decode("latin-1"))
        offered = [value for name, value in query if name == "token"]
        if offered:
            return self._sent_on(scope, query) if self._is_token(offered[0]) else _locked(headers)
        if self._has_cookie(headers) or self._has_authorization(headers):
            return None
        return _locked(headers)

    def _sent_on(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        rest = urllib.parse.urlencode([pair for pair in query if pair[0] != "token"])
        # One slash only: a path of two would be taken for another host's address.
        path = "/" + urllib.parse.quote(scope["path"]).lstrip("/")
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
        answer.set_cookie(
            self.cookie,
            self._cookie_value,
            httponly=True,
            samesite="strict",
            secure=scope.get("scheme") == "https",
        )
        return answer

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), self._token)

    def _has_cookie(self, headers: Headers) -> bool:
        jar = cookies.SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except cookies.CookieError:
            return False
        held = jar.get(self.cookie)
        return held is not None and hmac.compare_digest(
            held.value.encode("utf-8", "surrogateescape"), self._cookie_value.encode()
        )

    def _has_authorization(self, headers: Headers) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(value.strip())
        if scheme.lower() != "basic":
            return False
        try:
            pair = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(pair.partition(b":")[2], self._token)


def _locked(headers: Headers) -> Response:
    # Basic would make a browser ask in a dialog of its own, in front of our page.
    challenge = {"WWW-Authenticate": 'Bearer realm="Outrider"'}
    if "text/html" in headers.get("accept", ""):
        return HTMLResponse(
            _LOCKED,
            status_code=401,
            headers=challenge | {"Content-Security-Policy": _LOCKED_POLICY},
        )
    return PlainTextResponse(
        "A token is needed: send `Authorization: Bearer TOKEN`. `outrider up` prints it.\n",
        status_code=401,
        headers=challenge,
    )
