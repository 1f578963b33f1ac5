"""Posts a change as JSON to an address of the user's.

The address comes from settings, but what it resolves to does not: a name may point to loopback or
to a cloud's metadata service. Unless private targets are allowed, the name is resolved once, the
result is checked, and the connection goes to that very address; redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import httpx

from outrider.alerts.channels import base
from outrider.errors import DeliveryError

FORMAT_VERSION = 1
TIMEOUT_S = 8.0
_SERVER_ERROR, _TIMEOUT, _TOO_MANY = 500, 408, 429


class WebhookChannel:
    """Posts ``{"version": 1, "text": ..., "alert": {...}}``."""

    name = "webhook"

    def __init__(
        self, url: str, *, allow_private: bool = False, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url
        self._allow_private = allow_private
        self._transport = transport

    def deliver(self, change: dict[str, Any]) -> str:
        """Post the change; the server's status code is the result."""
        body = {"version": FORMAT_VERSION, "text": base.words(change), "alert": change}
        try:
            named = httpx.URL(self._url)
        except httpx.InvalidURL as error:
            raise DeliveryError(f"notify.webhook.url is no URL: {error}", permanent=True) from None
        headers = {"Host": named.netloc.decode(), "User-Agent": "outrider"}
        url, extensions = named, {}
        if not self._allow_private:
            url = named.copy_with(host=public_address(named.host))
            extensions = {"sni_hostname": named.host}
        try:
            with (
                httpx.Client(timeout=TIMEOUT_S, transport=self._transport, trust_env=False) as http,
                # The status is the answer; a body, however long, is not read.
                http.stream(
                    "POST", url, json=body, headers=headers, extensions=extensions
                ) as answer,
            ):
                status = answer.status_code
        except httpx.HTTPError as error:
            raise DeliveryError(
                f"webhook {named.host} did not answer: {error or type(error).__name__}",
                permanent=False,
            ) from None
        if not answer.is_success:
            again = status >= _SERVER_ERROR or status in (_TIMEOUT, _TOO_MANY)
            raise DeliveryError(f"webhook {named.host} answered {status}", permanent=not again)
        return str(status)


def public_address(host: str) -> str:
    """Return the address of a host, which must be a public one.

    Raises:
        DeliveryError: the name does not resolve, or to a private, loopback or link-local address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(
            f"webhook host {host} does not resolve: {error}", permanent=False
        ) from None
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    for address in addresses:
        if not address.is_global or address.is_multicast:
            raise DeliveryError(
                f"webhook host {host} is at {address}, which is not public; "
                "set notify.webhook.allow_private = true if that is meant.",
                permanent=True,
            )
    return str(addresses[0])
