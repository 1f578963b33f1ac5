"""httpx: requests of a Client or AsyncClient, redirects included, seen at its ``send``.

A request that is streamed counts until its headers are there; what follows is the bot's pace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.http import Http
from outrider.sdk.integrations.meter import given, watched, watched_async

if TYPE_CHECKING:
    from outrider.sdk.integrations.meter import Meter


def attach(client: Any, meter: Meter) -> None:
    """Measure a client."""
    http = meter.part(Http)

    def look(
        args: Any, kwargs: Any, start: float, error: BaseException | None, response: Any
    ) -> None:
        request = given(args, kwargs, 0, "request")
        method, host = request.method, request.url.host
        if error is not None:
            http.failed(method, host, start, error)
            return
        http.answered(method, host, start, response.status_code, response.headers)
        if response.is_stream_consumed:
            http.received(host, response.num_bytes_downloaded)

    watch = watched_async if hasattr(client, "aclose") else watched
    client.send = watch(client.send, meter.guard(look))
