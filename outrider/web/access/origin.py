"""Whether a request comes from our own pages: what browsers say of it, and a token they can't know.

Three walls, since each has had holes: the cookie is SameSite=Strict; what a browser says of the
sender (``Sec-Fetch-Site``, ``Origin``) must be us; and what changes something carries a token that
only our pages can read (``GET /api/me``). Programs send none of these headers; with a Bearer token,
which no browser adds by itself, they need none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.web.access.roles import SAFE_METHODS

if TYPE_CHECKING:
    from starlette.datastructures import Headers

HEADER = "x-outrider-csrf"
FIELD = "csrf"


def foreign(headers: Headers, method: str, allowed: frozenset[str]) -> str | None:
    """Return what shows that another site's page sent this, or None.

    A link that somebody follows is no attack: it only shows a page, and to them alone.
    """
    origin = headers.get("origin")
    if origin is not None:
        _, _, host = origin.lower().partition("://")
        if origin.lower() not in allowed and (not host or host != headers.get("host", "").lower()):
            return f"Origin: {origin[:200]}"
        if origin.lower() in allowed:
            return None
    site = headers.get("sec-fetch-site")
    if site is None or site == "same-origin":
        return None
    safe = method in SAFE_METHODS
    if safe and site == "none":
        return None
    if (
        safe
        and headers.get("sec-fetch-mode") == "navigate"
        and (headers.get("sec-fetch-dest") == "document")
    ):
        return None
    return f"Sec-Fetch-Site: {site[:40]}"
