"""aiohttp: requests of a ClientSession, through its own tracing, redirects included.

A request counts until its headers are there; a websocket's handshake is a request as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.http import Http
from outrider.sdk.integrations.meter import now

if TYPE_CHECKING:
    from outrider.sdk.integrations.meter import Meter


def attach(session: Any, meter: Meter) -> None:
    """Measure a session, from its next request on."""
    import aiohttp

    http = meter.part(Http)

    def begin(context: Any, asked: Any) -> None:
        context.asked = asked.method, asked.url.host or ""
        context.start = now()

    def end(context: Any, told: Any) -> None:
        response = told.response
        http.answered(*context.asked, context.start, response.status, response.headers)
        if response.content_length:
            http.received(context.asked[1], response.content_length)

    def fail(context: Any, told: Any) -> None:
        http.failed(*context.asked, context.start, told.exception)

    config = aiohttp.TraceConfig()
    for signal, look in (
        (config.on_request_start, begin),
        (config.on_request_end, end),
        (config.on_request_exception, fail),
    ):
        signal.append(_slot(meter.guard(look)))
    config.freeze()
    session.trace_configs.append(config)


def _slot(look: Any) -> Any:
    async def slot(_session: Any, context: Any, told: Any) -> None:
        look(context, told)

    return slot
