"""The HTTP API's own routes: actions, and the description of all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec
import redis
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from outrider.errors import BadArgument, OutriderError, SupervisorUnavailable, UnknownBot
from outrider.web import access, actions
from outrider.web.access.entrance import gate_of, person_of
from outrider.web.access.gate import address_of

if TYPE_CHECKING:
    from starlette.requests import Request

# Orders wait for a supervisor; they must not take the threads that draw the page.
_AT_ONCE = 4


def routes(orders: actions.Orders | None) -> list[Route]:
    """Return the routes; ``orders`` passes on what supervisors are to do."""
    threads = anyio.CapacityLimiter(_AT_ONCE)

    @access.requires(access.OPERATOR)
    async def act(request: Request) -> Response:
        return await _act(request, orders, threads)

    return [
        Route("/api/actions/{what}", act, methods=["POST"]),
        Route("/api/openapi.json", _openapi),
    ]


async def _openapi(request: Request) -> Response:
    from outrider.web import openapi

    return JSONResponse(openapi.describe(gate_of(request).door.root_path))


async def _act(
    request: Request, orders: actions.Orders | None, threads: anyio.CapacityLimiter
) -> Response:
    what, person = str(request.path_params["what"]), person_of(request)
    if what not in actions.ACTIONS:
        return _no(404, f"{what[:80]!r} is no action; there are {', '.join(actions.ACTIONS)}.")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return _no(415, "Send JSON, with Content-Type: application/json.")
    try:
        given: Any = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return _no(400, f"The body is no JSON: {error}.")
    if not isinstance(given, dict):
        return _no(400, "The body must be a JSON object.")
    asked = actions.Asked(request.app.state.source, orders, person.name, given)
    status, result = 200, ""
    try:
        result = await anyio.to_thread.run_sync(actions.do, what, asked, limiter=threads)
    except (redis.RedisError, OSError, OutriderError) as error:
        status, result = _status(error), _told(request, error)
    await gate_of(request).record.keep(
        what, who=person.name, role=person.role, address=address_of(request.scope),
        about=actions.about(what, given), why=str(given.get("why", "")),
        result=f"{'ok' if status == 200 else status}: {result}",  # noqa: PLR2004
    )  # fmt: skip
    if status == 200:  # noqa: PLR2004
        return JSONResponse({"ok": True, "result": result})
    return _no(status, result)


def _status(error: Exception) -> int:
    if isinstance(error, actions.NotThere | UnknownBot):
        return 404
    if isinstance(error, BadArgument):
        return 400
    if isinstance(error, redis.RedisError | OSError | SupervisorUnavailable):
        return 503
    return 502 if getattr(error, "permanent", True) else 504


def _told(request: Request, error: Exception) -> str:
    if isinstance(error, OutriderError):
        return str(error)
    return str(request.app.state.source.problem(error))


def _no(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
