"""Runs the dashboard in this process: one thread of HTTP/1.1, nothing loaded that is not used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from outrider.settings import Settings


def run(
    *,
    host: str,
    port: int,
    redis_url: str,
    interval_s: float,
    token: str,
    flower_url: str | None = None,
    settings: Settings | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; open streams end at once. Blocks.

    Raises:
        BadArgument: the token is too short.
        SystemExit: the address can't be bound; uvicorn says why.
    """
    # numpy's BLAS would reserve memory for a thread a core, and we only compare and subtract.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import uvicorn

    from outrider.sdk.bot import announce
    from outrider.web.app import create_app

    app = create_app(
        redis_url=redis_url, interval_s=interval_s, token=token, flower_url=flower_url,
        settings=settings,
    )  # fmt: skip

    class Server(uvicorn.Server):
        """Says when it listens, and ends streams first: an open page would hold the stop up."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            announce("dashboard")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.live.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    Server(config).run()
