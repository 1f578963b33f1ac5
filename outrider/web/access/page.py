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


def login(
    *, action: str, onward: str, passwords: bool, status: int = 401, problem: str = "",
    oidc: str = "",
) -> Response:  # fmt: skip
    """Return the form; ``onward`` is where it leads, ``oidc`` where another login begins."""
    if passwords:
        title, about = "Log in to Outrider", (
            "The token that <code>outrider up</code> printed is a password too, without a user."
        )  # fmt: skip
        fields = (
            '<label for="user">User</label><input id="user" name="user" autocomplete="username" '
            'autocapitalize="none" spellcheck="false" autofocus>'
            '<label for="password">Password</label>'
        )
    else:
        title, about = "This dashboard needs its token", (
            "Open the address that <code>outrider up</code> printed, or enter the token here."
        )  # fmt: skip
        fields = '<label for="password">Token</label>'
    other = (
        f'<p><a href="{html.escape(oidc)}">Log in with your organisation</a></p>' if oidc else ""
    )
    return _page(
        title,
        f"<p>{about}</p>{_alert(problem)}{other}"
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


def refused(status: int, problem: str, back: str) -> Response:
    """Return why a page is not shown to a person who is known."""
    return _page(
        "Not allowed", f'{_alert(problem)}<p><a href="{html.escape(back)}">Back</a></p>', status
    )


def _alert(problem: str) -> str:
    return f'<p role="alert">{html.escape(problem)}</p>' if problem else ""


def _page(title: str, body: str, status: int) -> Response:
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )
    # Where a page tells nobody where it is, browsers send its forms with `Origin: null`.
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, status_code=status, headers=headers)
