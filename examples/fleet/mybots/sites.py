"""The web pages this fleet reads: a market with a list and order books, and a parcel carrier."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import asdict

from aiohttp import web

from mybots import market

# A carrier's site takes its time, which is what makes its answers worth keeping.
CARRIER_DELAY_S = 0.08
STAGES = ("accepted", "sorted", "on the way", "at the depot", "out for delivery", "delivered")


def stage(number: str, at_s: float) -> str:
    """Return where a parcel is: each takes its own time, one to three hours, and starts over."""
    digest = int.from_bytes(hashlib.sha256(number.encode()).digest()[:4])
    journey_s = 3600 + digest % 7200
    return STAGES[int((at_s + digest) % journey_s / journey_s * len(STAGES))]


def routes(seed: int) -> list[web.RouteDef]:
    """Return the routes of all pages; ``seed`` decides how the market wanders."""

    async def listing(_request: web.Request) -> web.Response:
        second = int(time.time())
        rows = "".join(
            f'<tr><td><a href="/market/{symbol}/book">{symbol}</a></td>'
            f"<td>{market.mid(seed, symbol, second):.6g}</td></tr>"
            for symbol in market.PRICES
        )
        page = f"<!doctype html><title>Market</title><table id=pairs>{rows}</table>"
        return web.Response(text=page, content_type="text/html")

    async def book(request: web.Request) -> web.Response:
        symbol = request.match_info["symbol"]
        if symbol not in market.PRICES:
            raise web.HTTPNotFound(text=f"No pair {symbol!r} is traded here; see /market.")
        return web.json_response(asdict(market.book(seed, symbol, time.time())))

    async def parcel(request: web.Request) -> web.Response:
        await asyncio.sleep(CARRIER_DELAY_S)
        number = request.match_info["number"]
        return web.json_response({"number": number, "stage": stage(number, time.time())})

    return [
        web.get("/market", listing),
        web.get("/market/{symbol}/book", book),
        web.get("/carrier/{number}", parcel),
    ]
