"""The pages at the door: logging in and out, without JavaScript and without a file to fetch.

A browser that is not let in can't fetch our style sheet, so these pages carry their own, and the
policy names it by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html

from starlette.responses import HTMLResponse, Response

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:16vh auto;padding:0 1.5rem}
h1{font-size:1.4rem;margin:0 0 .5rem}p{margin:.5rem 0 1.25rem}
label{display:block;font-weight:600;margin:.9rem 0 .35rem}
input{width:100%;box-sizing:border-box;font:inherit;padding:.5rem .7rem;border:1px solid #767676;
border-radius:.4rem}
button{font:inherit;font-weight:600;padding:.5rem 1.1rem;border:0;border-radius:.4rem;
background:#0072b2;color:#fff;margin-top:1.1rem}
[role=alert]{border-left:4px solid #d55e00;padding:.4rem .8rem}
:focus-visible{outline:3px solid #56b4e9;outline-offset:2px}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

# Title, what is said, and the fields before the secret's.
_TOKEN = (
    "This dashboard needs its token",
    "Open the address that <code>outrider up</code> printed, or enter the token here.",
    '<label for="password">Token</label>',
)
_PERSON = (
    "Log in to Outrider",
    "The token that <code>outrider up</code> printed is a password too, without a user.",
    (
        '<label for="user">User</label><input id="user" name="user" autocomplete="username" '
        'autocapitalize="none" spellcheck="false" autofocus>'
        '<label for="password">Password</label>'
    ),
)


def login(
    *, action: str, onward: str, passwords: bool, token: bool = True, provider: str = "",
    status: int = 401, problem: str = "",
) -> Response:  # fmt: skip
    """Return the form; ``onward`` is where it leads, ``provider`` where another login begins."""
    title, about, fields = _TOKEN if not (passwords or provider) else _PERSON
    if not passwords:
        fields = _TOKEN[2]
    other = ""
    if provider:
        link = f'<a href="{html.escape(provider)}">Log in with your organisation</a>'
        other = f"<p>{link}</p>"
    if provider and not (passwords or token):
        return _page(title, _alert(problem) + other, status)
    return _page(
        title,
        f"{_alert(problem)}{other}<p>{about}</p>"
        f'<form action="{html.escape(action)}" method="post">'
        f'<input type="hidden" name="next" value="{html.escape(onward)}">{fields}'
        '<input id="password" name="password" type="password" autocomplete="current-password" '
        "required><button>Log in</button></form>",
        status,
    )


def logout(*, action: str, back: str, csrf: str, name: str) -> Response:
    """Return the form that ends a session."""
    return _page(
        "Log out",
        f"<p>You are logged in as <strong>{html.escape(name)}</strong>.</p>"
        f'<form action="{html.escape(action)}" method="post">'
        f'<input type="hidden" name="csrf" value="{html.escape(csrf)}">'
        f'<button>Log out</button></form><p><a href="{html.escape(back)}">Back</a></p>',
        200,
    )


def onward(target: str) -> Response:
    """Return a page that leads on at once.

    After a login at a provider's site a redirect would still count as that site's, and browsers
    would not send the new cookie (``SameSite=Strict``) with it; what a page of ours opens is ours.
    """
    shown = html.escape(target)
    return _page(
        "Logged in", f'<p><a href="{shown}">Go on</a></p>', 200,
        head=f'<meta http-equiv="refresh" content="0;url={shown}">',
    )  # fmt: skip


def refused(status: int, problem: str, back: str) -> Response:
    """Return why a page is not shown to a person who is known."""
    return _page(
        "Not allowed", f'{_alert(problem)}<p><a href="{html.escape(back)}">Back</a></p>', status
    )


def _alert(problem: str) -> str:
    return f'<p role="alert">{html.escape(problem)}</p>' if problem else ""


def _page(title: str, body: str, status: int, *, head: str = "") -> Response:
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{head}<style>{_STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )
    # Where a page tells nobody where it is, browsers send its forms with `Origin: null`.
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, status_code=status, headers=headers)
