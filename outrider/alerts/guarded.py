"""HTTP to addresses that come from settings, without reaching what they must not name.

A name may point to loopback, to the private network or to a cloud's metadata service, and may point
elsewhere a moment later. So the check is made where the connection is: each connection resolves its
name once, refuses unless every address is public, and goes to the address that was checked. However
an address is written (decimal, octal, IPv4 within IPv6), and whatever a redirect says, it comes
through here. Redirects are not followed, proxies of the environment not used, an answer is read up
to MOST_BYTES, and the whole exchange, however slowly it drips, ends after TIMEOUT_S.
"""

from __future__ import annotations

import base64
import email.utils
import functools
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpcore
import httpx

from outrider.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TIMEOUT_S = 8.0
MOST_BYTES = 1 << 16
_SERVER_ERROR, _TIMEOUT, _TOO_EARLY, _TOO_MANY = 500, 408, 425, 429
_FINE = range(200, 300)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; ``body`` is cut at MOST_BYTES."""

    status: int
    body: bytes


def post(
    url: str,
    body: bytes,
    *,
    what: str,
    allow_private: bool,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    method: str = "POST",
) -> Answer:
    """Send a request and return a good answer. ``what`` names the channel in errors.

    The errors never show the URL beyond its host: its path is a secret with most services.

    Raises:
        DeliveryError: there was no good answer; ``permanent`` for what another try can't mend.
    """
    sent = {"Content-Type": content_type, "User-Agent": "outrider", "Connection": "close"}
    sent |= dict(headers or {})
    try:
        target, host, login = _parsed(url)
        pool = httpcore.ConnectionPool(
            network_backend=_Guarded(what, allow_private=allow_private),
            ssl_context=_tls(), max_connections=1,
        )  # fmt: skip
    except (httpx.InvalidURL, ValueError) as error:
        raise DeliveryError(f"{what}: its url is no URL: {error}", permanent=True) from None
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
    try:
        with (
            pool,
            pool.stream(
                method, target, content=body, headers=[*(login | sent).items()],
                extensions={"timeout": timeouts},
            ) as response,
        ):  # fmt: skip
            status = response.status
            asked = {name.lower(): value for name, value in response.headers}
            answer = Answer(status, _read(response.iter_stream()))
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        said = str(error) or type(error).__name__
        raise DeliveryError(f"{what}: {host} did not answer: {said}", permanent=False) from None
    except (UnicodeError, ValueError) as error:  # a header or path that can't be sent
        raise DeliveryError(f"{what}: the request can't be sent: {error}", permanent=True) from None
    if status not in _FINE:
        again = status >= _SERVER_ERROR or status in (_TIMEOUT, _TOO_EARLY, _TOO_MANY)
        retry_after_s = _retry_after_s(asked.get(b"retry-after"))
        said = answer.body[:200].decode("utf-8", "replace")
        raise DeliveryError(
            f"{what}: {host} answered {status} {said}".rstrip(),
            permanent=not again, retry_after_s=retry_after_s,
        )  # fmt: skip
    return answer


def _parsed(url: str) -> tuple[httpcore.URL, str, dict[str, str]]:
    found = httpx.URL(url)
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("it must begin with http:// or https:// and name a host")
    parts = {"scheme": found.raw_scheme, "host": found.raw_host, "target": found.raw_path}
    login = {}
    if found.userinfo:
        said = base64.b64encode(f"{found.username}:{found.password}".encode()).decode()
        login["Authorization"] = f"Basic {said}"
    return httpcore.URL(**parts, port=found.port), found.host, login


def public_addresses(host: str, what: str) -> list[str]:
    """Return the addresses of a host, which must all be public.

    Raises:
        DeliveryError: it does not resolve, or to a private, loopback or link-local address.
    """
    addresses = _resolved(host, what)
    for address in addresses:
        if not _is_public(address):
            raise DeliveryError(
                f"{what}: {host} is at {address}, which is not public; "
                "set its allow_private = true if that is meant.",
                permanent=True,
            )
    return addresses


class _Guarded(httpcore.NetworkBackend):
    """Connects to checked addresses only, and lets nothing outlast the whole exchange's time."""

    def __init__(self, what: str, *, allow_private: bool) -> None:
        self._what = what
        self._allow_private = allow_private
        self._ends_s = time.monotonic() + TIMEOUT_S
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        del timeout
        if self._allow_private:
            addresses = _resolved(host, self._what)
        else:
            addresses = public_addresses(host, self._what)
        for address in addresses[:-1]:
            try:
                return self._connect(address, port, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, local_address, socket_options)

    def _connect(
        self,
        address: str,
        port: int,
        local_address: str | None,
        options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.NetworkStream:
        left_s = _left_s(self._ends_s)
        stream = self._inner.connect_tcp(address, port, left_s, local_address, options)
        return _Timed(stream, self._ends_s)


class _Timed(httpcore.NetworkStream):
    """A stream each of whose waits ends when the whole must."""

    def __init__(self, stream: httpcore.NetworkStream, ends_s: float) -> None:
        self._stream = stream
        self._ends_s = ends_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return self._stream.read(max_bytes, _left_s(self._ends_s))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        self._stream.write(buffer, _left_s(self._ends_s))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        del timeout
        secure = self._stream.start_tls(ssl_context, server_hostname, _left_s(self._ends_s))
        return _Timed(secure, self._ends_s)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _left_s(ends_s: float) -> float:
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout(f"not within {TIMEOUT_S:g} s")
    return left_s


def _read(pieces: Iterable[bytes]) -> bytes:
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) >= MOST_BYTES:
            break
    return bytes(found[:MOST_BYTES])


def _resolved(host: str, what: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"{what}: {host} does not resolve: {error}", permanent=False) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if address.teredo:
            within = address.teredo[1]
        if address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return _is_public(str(within))
    return address.is_global and not address.is_multicast


def _retry_after_s(header: bytes | None) -> float | None:
    if header is None:
        return None
    text = header.decode("ascii", "replace").strip()
    if text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the machine's trust; to read it takes 20 ms, so it is kept."""
    return ssl.create_default_context()
