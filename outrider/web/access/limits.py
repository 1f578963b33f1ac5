"""How much anyone may send: a short address, a small body, and not for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Message, Receive, Scope

LONGEST_ADDRESS = 8_192
LARGEST_BODY = 65_536
# A body is one packet or two; who needs longer holds a connection.
BODY_WITHIN_S = 10.0


class TooMuch(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that is not read to its end; ``status`` says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def measure(scope: Scope, headers: Headers) -> None:
    """Refuse what says of itself that it is too long.

    Raises:
        TooMuch: it is.
    """
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_ADDRESS:
        raise TooMuch(414, f"The address is longer than {LONGEST_ADDRESS} bytes.")
    length = headers.get("content-length")
    if length is None:
        return
    if not (length.isascii() and length.isdigit()):
        raise TooMuch(400, "Content-Length is no number.")
    # Compared by digits first: int() of a long text is slow.
    if len(length.lstrip("0")) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
        raise TooMuch(413, f"The body is larger than {LARGEST_BODY} bytes.")


async def body(receive: Receive) -> bytes:
    """Read a whole body.

    Raises:
        TooMuch: it is larger than it may be, comes too slowly, or ends half-way.
    """
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise TooMuch(400, "The body ended half-way.")
                read += message.get("body", b"")
                if len(read) > LARGEST_BODY:
                    raise TooMuch(413, f"The body is larger than {LARGEST_BODY} bytes.")
                if not message.get("more_body", False):
                    return bytes(read)
    except TimeoutError:
        raise TooMuch(408, f"The body did not come within {BODY_WITHIN_S:.0f} s.") from None


def again(read: bytes, receive: Receive) -> Receive:
    """Return what hands out a body that was read, and then goes on."""
    left = [read]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay
