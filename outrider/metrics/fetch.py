"""Gets one page over HTTP for a collector: bounded in time, in size, and in where it goes.

The standard library's client, since a scrape is one plain request a tick: a client with pools and
TLS set up costs more than what it fetches. Redirects are not followed; whoever may change what an
endpoint answers must not choose what else we ask. Names and passwords in an address are sent, and
stand in no message.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import socket
import ssl
import time
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple

from outrider.errors import OutriderError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 4 << 20
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
_AT_ONCE = 1 << 16
_MOVED = range(300, 400)
_FINE = 200


class Page(NamedTuple):
    """What was answered."""

    text: str
    content_type: str


class Unanswered(OutriderError):  # noqa: N818 - reads as the message it is
    """There is no page; the text says why and what to do. Holds no password."""


class Fetch:
    """One request: ``run()`` asks, ``cancel()`` from another thread makes it give up."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        most_bytes: int = MOST_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = urllib.parse.urlsplit(url)
        self._most_bytes = most_bytes
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self.timeout_s = timeout_s

    def run(self) -> Page:
        """Return the page.

        Raises:
            Unanswered: nobody listens, it takes too long, is too long, or is no page.
        """
        ends_s = self._monotonic() + self.timeout_s
        connection = self._connection()
        try:
            connection.connect()
            self._socket = connection.sock
            connection.request("GET", self._path(), headers=self._headers())
            self._wait_until(ends_s)
            with connection.getresponse() as response:
                return self._page(response, ends_s)
        except TimeoutError:
            raise Unanswered(f"it does not answer within {self.timeout_s:g} s.") from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise Unanswered(f"it can't be read ({why}).") from None
        finally:
            connection.close()

    def cancel(self) -> None:
        """End the connection under whoever waits for it."""
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _page(self, response: http.client.HTTPResponse, ends_s: float) -> Page:
        if response.status in _MOVED:
            raise Unanswered(
                f"it answers {response.status} and sends us elsewhere, where we do not follow; "
                "put the final address into url."
            )
        if response.status != _FINE:
            raise Unanswered(f"it answers {response.status} {response.reason[:40]!r}.")
        found = bytearray()
        self._wait_until(ends_s)
        while piece := response.read1(_AT_ONCE):
            found += piece
            if len(found) > self._most_bytes:
                raise Unanswered(
                    f"its page is larger than {self._most_bytes >> 20} MiB; serve less there."
                )
            self._wait_until(ends_s)
        try:
            return Page(found.decode(), response.headers.get("Content-Type", ""))
        except UnicodeDecodeError:
            raise Unanswered("its page is not UTF-8 text; is it compressed?") from None

    def _wait_until(self, ends_s: float) -> None:
        """Let what follows wait as long as is left of the whole. Raises TimeoutError."""
        left_s = ends_s - self._monotonic()
        if left_s <= 0:
            raise TimeoutError
        if self._socket is not None:
            self._socket.settimeout(left_s)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=_tls())
        return http.client.HTTPConnection(host, port, timeout=self.timeout_s)

    def _path(self) -> str:
        return urllib.parse.urlunsplit(("", "", self._parts.path or "/", self._parts.query, ""))

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": ACCEPT, "User-Agent": "outrider", "Connection": "close"}
        if self._parts.username is not None:
            name = urllib.parse.unquote(self._parts.username)
            password = urllib.parse.unquote(self._parts.password or "")
            said = base64.b64encode(f"{name}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {said}"
        return headers


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the machine's trust; to read it takes 20 ms, so it is kept."""
    return ssl.create_default_context()
