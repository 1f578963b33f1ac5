"""Runs the dashboard in this process: one thread of HTTP/1.1, nothing loaded that is not used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from outrider.settings import Settings
    from outrider.settings_web import DashboardSettings
    from outrider.web.actions import Orders


def run(
    *,
    host: str,
    port: int,
    redis_url: str,
    interval_s: float,
    token: str,
    flower_url: str | None = None,
    settings: Settings | None = None,
    orders: Orders | None = None,
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
        settings=settings, orders=orders,
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
        **_transport(settings.dashboard if settings else None),
    )
    Server(config).run()


def _transport(page: DashboardSettings | None) -> dict[str, Any]:
    """Return what of the settings the server itself needs: TLS, and whose headers it believes.

    Nobody's by default, since whoever sends X-Forwarded-For would choose the address that failed
    logins are counted by.
    """
    proxies = list(page.proxies) if page else []
    found: dict[str, Any] = {"proxy_headers": bool(proxies), "forwarded_allow_ips": proxies}
    if page and page.tls_cert and page.tls_key:
        found |= {"ssl_certfile": page.tls_cert, "ssl_keyfile": page.tls_key}
    return found
