"""What tests of channels share: a local HTTP server that notes what it is sent, and messages."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

NASTY = (
    "<script>alert(1)</script> @everyone <!channel> **b** _i_ [x](http://e) `c` ||s|| "
    "\x1b[31m\x00\r\nBcc: all@example.com\r\n# HELP\u202e=cmd()|'/C calc'!A0"
)


def alert(**changed: Any) -> dict[str, Any]:
    return {
        "id": "1", "rule": "bot is down", "instance": "bot.canary.up", "host": "alpha",
        "severity": "critical", "from": "pending", "to": "firing", "at_s": 1_795_454_660.0,
        "value": 1.5, "summary": "it burns",
    } | changed  # fmt: skip


def message(*alerts: dict[str, Any], **changed: Any) -> Message:
    listed = list(alerts) or [alert()]
    firing = sum(one["to"] == "firing" for one in listed)
    fields: dict[str, Any] = {
        "id": "m1", "kind": "news", "group": "g1", "route": "default",
        "labels": {"host": "alpha", "rule": "bot is down"}, "severity": "critical",
        "at_s": 1_795_454_660.0, "firing": firing, "resolved": len(listed) - firing,
        "alerts": listed,
    }  # fmt: skip
    return Message(**fields | changed)


def nasty() -> Message:
    """A message all of whose names come from an enemy, one of them a megabyte long."""
    one = alert(summary=NASTY, host=NASTY, instance=NASTY, rule=NASTY)
    two = alert(summary="x" * (1 << 20), id="2")
    return message(one, two, labels={"host": NASTY, "rule": NASTY})


@dataclass
class Receiver:
    """A local HTTP server that notes what it is sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    def json(self) -> Any:
        """Return the body of the only request."""
        ((_, _, body),) = self.seen
        return json.loads(body)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def running(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.seen.append((self.path, dict(self.headers), sent))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as receiver:
        yield receiver
