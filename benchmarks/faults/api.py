"""Stands between the fleet and its Bot API, and is slow, or refuses: ``api URL_FILE slow|refuse``.

It writes its own address where the bots look for the Bot API, and puts back what was there when it
ends.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

DELAY_S = 0.9
REFUSED = 0.7
RETRY_AFTER_S = 1
# Long polling waits by design; it would only hide what is to be seen.
_POLLING = "getupdates"


def application(behind: str, fault: str, session: aiohttp.ClientSession) -> web.Application:
    """Return the proxy."""

    async def pass_on(request: web.Request) -> web.Response:
        calls_bot = request.path.startswith("/bot")
        if not request.path.lower().endswith(_POLLING):
            if fault == "refuse" and calls_bot and random.random() < REFUSED:
                return web.json_response(
                    {
                        "ok": False, "error_code": 429, "description": "Too Many Requests",
                        "parameters": {"retry_after": RETRY_AFTER_S},
                    },
                    status=429,
                )  # fmt: skip
            if fault == "slow":
                await asyncio.sleep(DELAY_S * random.uniform(0.7, 1.3))
        headers = {"Content-Type": kind} if (kind := request.headers.get("Content-Type")) else {}
        async with session.request(
            request.method, behind + request.path_qs, data=await request.read(), headers=headers
        ) as answer:
            return web.Response(
                body=await answer.read(), status=answer.status, content_type=answer.content_type
            )

    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.route("*", "/{rest:.*}", pass_on)])
    return app


async def main(path: Path, fault: str, behind: str) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        runner = web.AppRunner(application(behind.strip(), fault, session))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=1.0).start()
        host, port = runner.addresses[0][:2]
        mine = f"http://{host}:{port}"
        path.write_text(mine)  # noqa: ASYNC240 - one line, before there is anything to serve
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        try:
            await ended.wait()
        finally:
            _put_back(path, mine, behind)
            await asyncio.sleep(0.5)
            await runner.cleanup()


def _put_back(path: Path, mine: str, behind: str) -> None:
    if path.read_text() == mine:  # else the Bot API moved meanwhile, and said so itself
        path.write_text(behind)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[1]).read_text()))
