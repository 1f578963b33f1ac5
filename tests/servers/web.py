"""HTTP servers that misbehave, for whoever must bear it."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Site:
    """A server whose answers a test chooses by path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.ended = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append((self.path, dict(self.headers)))
                with contextlib.suppress(ConnectionError):
                    site.answers[self.path](self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def url(self, path: str = "/metrics", user: str = "") -> str:
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self._server.server_port}{path}"

    def page(
        self, text: str, path: str = "/metrics", *, kind: str = "text/plain", status: int = 200
    ) -> str:
        """Serve a page, and return its address."""

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Type", kind)
            handler.end_headers()
            handler.wfile.write(text.encode())

        self.answers[path] = answer
        return self.url(path)

    def hang(self, path: str = "/hangs", *, first: bytes = b"", each: bytes = b"") -> str:
        """Serve what never ends: ``first`` at once, then ``each`` every 20 ms, or nothing."""

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.wfile.write(first)
            handler.wfile.flush()
            while not self.ended.wait(0.02):
                handler.wfile.write(each)
                handler.wfile.flush()

        self.answers[path] = answer
        return self.url(path)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def running() -> Iterator[Site]:
    """Run a site until the end of a block."""
    site = Site()
    site.start()
    try:
        yield site
    finally:
        site.stop()
