"""Pages under a path of a proxy's: each address in them that begins at our root gets it in front.

Scripts need nothing of it: they take the root from where they were loaded themselves (``at`` in
``static/root.js``).
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ADDRESS = re.compile(r'(\s(?:href|src|action)=")/(?!/)')


def page(text: str, root_path: str) -> str:
    """Return a page whose addresses begin with ``root_path``.

    >>> page('<a href="/series">', "/ops")
    '<a href="/ops/series">'
    """
    return _ADDRESS.sub(rf"\g<1>{html.escape(root_path)}/", text)


class Rooted:
    """ASGI middleware that does it to every page. Pages are small and are held until complete."""

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app, self._root = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and change what comes back if it is a page."""
        start: Message | None = None
        held = bytearray()

        async def changed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                kind = MutableHeaders(scope=message).get("content-type", "")
                if kind.startswith("text/html"):
                    start = message
                    return
            if start is None or message["type"] != "http.response.body":
                await send(message)
                return
            held.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            body = page(held.decode(), self._root).encode()
            headers = MutableHeaders(scope=start)
            del headers["content-length"]  # of HEAD's it is not known
            if scope["method"] != "HEAD":
                headers["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, changed)
