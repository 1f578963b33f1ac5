"""httpx and aiohttp clients against a local server that redirects, refuses, streams and hangs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

HOST = "http.127_0_0_1"


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def moved(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/hello")


async def limited(_request: web.Request) -> web.Response:
    return web.Response(status=429, headers={"Retry-After": "7"})


async def broken(_request: web.Request) -> web.Response:
    return web.Response(status=500)


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(3):
        await response.write(b"x" * 1000)
    return response


async def hang(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    app = web.Application()
    for handler in (hello, moved, limited, broken, stream, hang, websocket):
        app.add_routes([web.route("*", f"/{handler.__name__}", handler)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def served(use: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with serving() as url:
            await use(url)

    asyncio.run(run())


def test_httpx_requests_are_told_by_host_and_method(recorder: Recorder) -> None:
    async def use(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, follow_redirects=True) as client:
            recorder.instrument(client)
            assert (await client.get("/hello?user=7")).text == "hello"
            assert (await client.get("/moved")).text == "hello"
            assert (await client.post("/limited")).status_code == 429
            assert (await client.request("PROPFIND", "/broken")).status_code == 500
            async with client.stream("GET", "/stream") as response:
                assert len(await response.aread()) == 3000
            await client.send(request=client.build_request("GET", "/hello"))

    served(use)

    assert recorder.timed("http") == {
        f"{HOST}.requests.get": 4, f"{HOST}.requests.post": 1, f"{HOST}.requests.other": 1,
        f"{HOST}.wait": 1,
    }  # fmt: skip
    assert recorder.timings[f"{HOST}.wait"] == [7]
    assert recorder.counters == {
        f"{HOST}.status.2xx": 4, f"{HOST}.status.4xx": 1, f"{HOST}.status.5xx": 1,
        f"{HOST}.limited": 1, f"{HOST}.received_bytes": 15,
    }  # fmt: skip


def test_a_plain_httpx_client_is_measured_as_well(recorder: Recorder) -> None:
    async def use(url: str) -> None:
        def get() -> str:
            with recorder.instrument(httpx.Client()) as client:
                return client.get(f"{url}/hello").text

        assert await asyncio.to_thread(get) == "hello"

    served(use)

    assert recorder.timed("http") == {f"{HOST}.requests.get": 1}


def test_httpx_requests_without_an_answer_are_errors_by_type(recorder: Recorder) -> None:
    async def use(url: str) -> None:
        async with recorder.instrument(httpx.AsyncClient()) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{url}/hang", timeout=0.05)
            with pytest.raises(httpx.ConnectError):
                await client.get("http://localhost:9/")
            call = asyncio.create_task(client.get(f"{url}/hang"))
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    served(use)

    assert recorder.counters == {
        f"{HOST}.errors": 1, "http.localhost.errors": 1, f"{HOST}.cancelled": 1,
        "http.errors.ReadTimeout": 1, "http.errors.ConnectError": 1,
    }  # fmt: skip


def test_aiohttp_requests_are_told_by_host_and_method(recorder: Recorder) -> None:
    async def use(url: str) -> None:
        async with aiohttp.ClientSession(url) as session:
            recorder.instrument(session)
            recorder.instrument(session)
            async with session.get("/moved") as response:
                assert await response.text() == "hello"
            async with session.post("/limited") as response:
                assert response.status == 429
            async with session.get("/stream") as response:
                assert len(await response.read()) == 3000
            async with session.ws_connect("/websocket") as socket:
                await socket.send_str("ping")
                assert await socket.receive_str() == "ping"

    served(use)

    assert recorder.timed("http") == {
        f"{HOST}.requests.get": 3, f"{HOST}.requests.post": 1, f"{HOST}.wait": 1,
    }  # fmt: skip
    assert recorder.counters == {
        f"{HOST}.status.2xx": 2, f"{HOST}.status.4xx": 1, f"{HOST}.status.1xx": 1,
        f"{HOST}.limited": 1, f"{HOST}.received_bytes": 5,
    }  # fmt: skip


def test_aiohttp_requests_without_an_answer_are_errors_by_type(recorder: Recorder) -> None:
    async def use(url: str) -> None:
        async with aiohttp.ClientSession() as session:
            recorder.instrument(session)
            with pytest.raises(TimeoutError):
                await session.get(f"{url}/hang", timeout=aiohttp.ClientTimeout(total=0.05))
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://localhost:9/")
            call = asyncio.create_task(session._request("GET", f"{url}/hang"))
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    served(use)

    assert recorder.timed("http") == {
        f"{HOST}.requests.get": 2, "http.localhost.requests.get": 1,
    }  # fmt: skip
    assert recorder.counted(HOST) == {f"{HOST}.errors": 1, f"{HOST}.cancelled": 1}
    assert len(recorder.counted("http.errors.")) == 2


def test_hosts_beyond_the_most_share_one_name(recorder: Recorder) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(204)

    with recorder.instrument(httpx.Client(transport=httpx.MockTransport(answer))) as client:
        for number in range(40):
            client.get(f"https://shard{number}.example.org/users/{number}?token=secret")

    assert len(recorder.timed("http")) == 17
    assert recorder.timed("http.other") == {"http.other.requests.get": 24}
