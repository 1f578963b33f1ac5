"""The routes: the pages, live events, the same as JSON, series, Prometheus' metrics, and health."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
import redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from outrider.errors import BadArgument
from outrider.metrics import celery_exporter
from outrider.settings import Retention, Settings
from outrider.store import connection, tiers
from outrider.store.redis import RedisStore
from outrider.web import access, api, rooted, shell
from outrider.web.access import entrance
from outrider.web.exposition import Other
from outrider.web.live import Live
from outrider.web.pages import routes as pages
from outrider.web.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from starlette.requests import Request

    from outrider.web.actions import Orders

# nginx would hold frames back until its buffer is full.
_UNBUFFERED = {"X-Accel-Buffering": "no"}
# Less than this is one packet anyway. The pages that hold a token for changes are smaller too, so
# that their length tells nothing of it.
_WORTH_BYTES = 4096


def create_app(
    *,
    redis_url: str,
    interval_s: float,
    token: str,
    flower_url: str | None = None,
    settings: Settings | None = None,
    orders: Orders | None = None,
) -> Starlette:
    """Return the dashboard of the fleet in this Redis. Sends nothing to Redis until asked.

    ``settings`` name the objectives, channels and the database, and say who may come in besides
    the token's holder; ``orders`` passes on what supervisors are to do.

    Raises:
        BadArgument: the token is too short.
    """
    client = connection.connect(redis_url)
    raw = RedisStore(redis_url, interval_s=interval_s, client=client)
    source = Source(
        tiers.of_redis(raw, Retention(), client=client),  # it reads, and forgets nothing
        client,
        address=connection.without_password(redis_url),
        settings=settings,
        others=(Other("celery", lambda: celery_exporter.samples(client)),),
    )
    door = access.Door.of_settings(settings.dashboard) if settings else access.Door()
    return assemble(source, token=token, flower_url=flower_url, door=door, orders=orders)


def assemble(
    source: Source,
    *,
    token: str,
    flower_url: str | None = None,
    door: access.Door | None = None,
    orders: Orders | None = None,
) -> Starlette:
    """Return the dashboard of this source; ``token`` may be empty where people can log in."""
    door = door or access.Door()
    door.check()
    if token or not door.has_names:
        access.check(token)
    links = {"flower": flower_url} if flower_url and _is_web(flower_url) else {}
    package = resources.files("outrider.web")
    routes = [
        Route("/", _page),
        Route("/events", _events),
        Route("/api/status", _status),
        Route("/series", _series_page),
        Route("/api/series", _series),
        Route("/api/query", _query),
        Route("/api/analysis", _analysis),
        *pages.of(source, _told),
        Route("/metrics", _metrics),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
        Mount("/static", _Static(directory=str(package.joinpath("static")))),
        *entrance.routes(),
        *api.routes(orders),
    ]
    gate = Middleware(
        access.Gate, routes=routes, door=door, token=token,
        client=source.client, clock=source.clock,
    )  # fmt: skip
    # Inside the gate: what stands at the door holds secrets and is never compressed. Streams of
    # events are left as they are.
    small = Middleware(GZipMiddleware, minimum_size=_WORTH_BYTES, compresslevel=6)
    roots = [Middleware(rooted.Rooted, root_path=door.root_path)] if door.root_path else []
    app = Starlette(
        routes=routes,
        middleware=[gate, small, *roots],
        exception_handlers={Exception: _broken, BadArgument: _bad},
    )
    for page in ("index", "series"):
        setattr(app.state, page, shell.page(page))
    app.state.source = source
    app.state.live = Live(source, links=links)
    return app


class _Static(StaticFiles):
    """Our files. Their ETag is a weak one: the same file is sent compressed and as it is."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        answer = super().file_response(*given, **named)
        if etag := answer.headers.get("etag"):
            answer.headers["etag"] = f"W/{etag.removeprefix('W/')}"
        return answer


async def _page(request: Request) -> Response:
    return HTMLResponse(request.app.state.index)


async def _series_page(request: Request) -> Response:
    return HTMLResponse(request.app.state.series)


async def _series(request: Request) -> Response:
    return await _told(request, request.app.state.source.series)


async def _query(request: Request) -> Response:
    return await _told(request, request.app.state.source.over)


async def _analysis(request: Request) -> Response:
    return await _told(request, request.app.state.source.analysis)


async def _told(request: Request, ask: Callable[[Mapping[str, str]], dict[str, Any]]) -> Response:
    """Answer with what was asked as JSON, or with what is wrong about the question."""
    live: Live = request.app.state.live
    asked = dict(request.query_params)
    status, answer = 200, {}
    try:
        answer = await live.in_thread(lambda: ask(asked))
    except BadArgument as error:
        status, answer = 400, {"error": str(error)}
    except (redis.RedisError, OSError) as error:
        status, answer = 503, {"error": request.app.state.source.problem(error)}
    return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")


async def _events(request: Request) -> Response:
    live: Live = request.app.state.live
    if live.full:
        return PlainTextResponse("Too many viewers watch already; close one.\n", status_code=503)
    return StreamingResponse(
        _while_allowed(request, live.watch()), media_type="text/event-stream", headers=_UNBUFFERED
    )


async def _while_allowed(
    request: Request, frames: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield frames until the viewer's session is over: a stream may outlive its login by days."""
    gate, person = entrance.gate_of(request), entrance.person_of(request)
    async with contextlib.aclosing(frames):
        async for frame in frames:
            if not await gate.holds(person):
                return
            yield frame


async def _status(request: Request) -> Response:
    live: Live = request.app.state.live
    return Response(await live.status(), media_type="application/json")


async def _metrics(request: Request) -> Response:
    accept = request.headers.get("accept", "")
    live: Live = request.app.state.live
    body, content_type = await live.in_thread(lambda: _scrape(request.app.state.source, accept))
    return Response(body, headers={"Content-Type": content_type})


def _scrape(source: Source, accept: str) -> tuple[bytes, str]:
    """Render a scrape; without Redis it says so, so that Prometheus sees more than a failure."""
    try:
        rows, alerts = source.rows(), source.alerts()
    except (redis.RedisError, OSError):
        return source.exposition.render([], [], reachable=False, accept=accept)
    return source.exposition.render(
        rows, alerts, reachable=True, accept=accept, others=source.others
    )


@access.requires(access.ANYONE)
async def _healthz(request: Request) -> Response:
    del request
    return PlainTextResponse("ok\n")


@access.requires(access.ANYONE)
async def _readyz(request: Request) -> Response:
    live: Live = request.app.state.live
    ready, report = await live.ready()
    return Response(
        json.dumps(report), status_code=200 if ready else 503, media_type="application/json"
    )


async def _bad(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"error": str(error)}, status_code=400)


async def _broken(request: Request, error: Exception) -> Response:
    """Answer without details: the log has them, a stranger needs none."""
    del request, error
    return PlainTextResponse(
        "The dashboard met an error; its log says which.\n",
        status_code=500,
        headers=access.SECURITY,
    )


def _is_web(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme in ("http", "https")
