"""Asks a bot whether it works, over HTTP or by a connection. Blocks; call it in a thread."""

from __future__ import annotations

import http.client
import socket
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.settings import ProbeSettings

_WELL = range(200, 400)


def of_settings(settings: ProbeSettings) -> Callable[[], str]:
    """Return a function that asks once, and returns what is wrong; empty when all is well."""
    if settings.http is not None:
        address = settings.http
        return lambda: over_http(address, timeout_s=settings.timeout_s)
    assert settings.tcp is not None
    host, _, port = settings.tcp.rpartition(":")
    return lambda: over_tcp(host.strip("[]"), int(port), timeout_s=settings.timeout_s)


def over_http(address: str, *, timeout_s: float) -> str:
    """Get an address; a status from 200 to 399 is well. Redirections are not followed."""
    parts = urllib.parse.urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    try:
        connection.request("GET", path, headers={"User-Agent": "outrider", "Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{address} does not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if status in _WELL else f"{address} answers {status}"


def over_tcp(host: str, port: int, *, timeout_s: float) -> str:
    """Connect and hang up."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError as error:
        return f"{host}:{port} takes no connection: {error or type(error).__name__}"
    return ""
