"""Watches a market, without messages: fetches pages, keeps indicators, stores candles.

The list of pairs is an HTML page, the order books are JSON, as on many a site that was not made for
bots. A candle that closes is stored; whole files of them are left as CSV for the archiver.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import html.parser
import logging
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import sqlalchemy as sa

import outrider
from mybots import loaders, retry, tables, whereabouts

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

PAGE_EVERY_S = 60.0  # the list of pairs changes rarely
TREND_CANDLES = 20
RSI_PERIOD = 14
EMA_PERIOD = 20
CANDLES_A_FILE = 20
KEEP_S = 7 * 86_400  # candles older than this are deleted when a file is written
log = logging.getLogger("prices")


class Pairs(html.parser.HTMLParser):
    """Collects links to order books from the market's page."""

    def __init__(self) -> None:
        super().__init__()
        self.books: dict[str, str] = {}
        self._href = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._href = dict(attrs).get("href") or "" if tag == "a" else ""

    def handle_data(self, data: str) -> None:
        if self._href.endswith("/book"):
            self.books[data.strip()] = self._href


@dataclass(frozen=True, slots=True)
class Candle:
    """How a price moved in one interval."""

    start_s: int
    open: float
    high: float
    low: float
    close: float

    def with_price(self, price: float) -> Candle:
        """Return the candle after one more price."""
        return replace(self, high=max(self.high, price), low=min(self.low, price), close=price)


@dataclass(frozen=True, slots=True)
class Indicators:
    """Exponential mean, and Wilder's relative strength: smoothed gains against losses, 0 to 100."""

    ema: float | None = None
    last: float | None = None
    gain: float = 0.0
    loss: float = 0.0
    count: int = 0

    def after(self, close: float) -> Indicators:
        """Return the indicators after one more closing price.

        >>> rising = Indicators()
        >>> for close in range(1, 17):
        ...     rising = rising.after(close)
        >>> rising.rsi()
        100.0
        """
        if self.last is None or self.ema is None:
            return Indicators(ema=close, last=close)
        change = close - self.last
        # The plain mean until the period is full, Wilder's smoothing from then on.
        weight = 1 / min(self.count + 1, RSI_PERIOD)
        return Indicators(
            ema=self.ema + 2 / (EMA_PERIOD + 1) * (close - self.ema),
            last=close,
            gain=self.gain + weight * (max(change, 0.0) - self.gain),
            loss=self.loss + weight * (max(-change, 0.0) - self.loss),
            count=self.count + 1,
        )

    def rsi(self) -> float | None:
        """Return the relative strength, or None before enough prices were seen."""
        if self.count < RSI_PERIOD:
            return None
        moved = self.gain + self.loss
        return 100 * self.gain / moved if moved else 50.0


def mid_price(book: dict[str, Any]) -> float:
    """Return the price between best bid and ask, each weighted by what stands against it.

    >>> mid_price({"bids": [[10.0, 3.0]], "asks": [[10.4, 1.0]]})
    10.3
    """
    (bid, bid_size), (ask, ask_size) = book["bids"][0], book["asks"][0]
    return float((bid * ask_size + ask * bid_size) / (bid_size + ask_size))


def advance(candle: Candle | None, price: float, start_s: int) -> tuple[Candle, Candle | None]:
    """Return the open candle, and the one that this price closed."""
    if candle and candle.start_s == start_s:
        return candle.with_price(price), None
    return Candle(start_s, price, price, price, price), candle


def store(symbol: str, candle: Candle, rsi: float | None) -> None:
    """Store a closed candle. Blocks."""
    values = {
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "rsi": rsi,
    }
    key = {"symbol": symbol, "start_s": candle.start_s}
    with tables.engine().begin() as connection:
        connection.execute(tables.upsert(tables.candles, key | values, values))


def export(symbol: str, first_s: int, end_s: int) -> Path | None:
    """Write a pair's candles of one span as CSV, and delete old candles. Blocks."""
    table = tables.candles
    mine = table.c.symbol == symbol
    query = sa.select(table).where(mine, table.c.start_s >= first_s, table.c.start_s < end_s)
    with tables.engine().begin() as connection:
        connection.execute(sa.delete(table).where(mine, table.c.start_s < first_s - KEEP_S))
        rows = connection.execute(query.order_by(table.c.start_s)).all()
    if not rows:
        return None
    path = whereabouts.exports_dir() / f"{symbol}-{first_s}.csv"
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns.keys())
        writer.writerows(rows)
    return unfinished.rename(path)


class Watcher:
    """What is known of one pair."""

    def __init__(self, symbol: str, me: outrider.Bot, candle_s: int) -> None:
        self.symbol = symbol
        self.candle: Candle | None = None
        self.indicators = Indicators()
        self._me = me
        self._candle_s = candle_s

    async def remember(self) -> None:
        """Take the indicators up where an earlier process left them."""
        for close in await asyncio.to_thread(loaders.recent_closes, self.symbol, 100):
            self.indicators = self.indicators.after(close)

    async def see(self, price: float, at_s: float) -> None:
        """Take a price in; stores the candle that it closes."""
        start_s = int(at_s) // self._candle_s * self._candle_s
        self.candle, closed = advance(self.candle, price, start_s)
        if closed is None:
            return
        self.indicators = self.indicators.after(closed.close)
        rsi = self.indicators.rsi()
        await asyncio.to_thread(store, self.symbol, closed, rsi)
        self._me.count("candles")
        if rsi is not None:
            self._me.gauge(f"rsi.{self.symbol}", round(rsi, 1))
            self._me.count("signals", rsi > 70 or rsi < 30)
        file_s = self._candle_s * CANDLES_A_FILE
        first_s = closed.start_s // file_s * file_s
        if start_s >= first_s + file_s:
            await asyncio.to_thread(export, self.symbol, first_s, first_s + file_s)
            self._me.count("exports")


class Market:
    """Fetches the market's pages."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._books: dict[str, str] = {}
        self._listed_s = -PAGE_EVERY_S

    async def prices(self) -> dict[str, float]:
        """Return the present price of every pair.

        Raises:
            httpx.HTTPError: no answer, or a refusal.
        """
        site = whereabouts.botapi_url()
        if time.monotonic() - self._listed_s >= PAGE_EVERY_S:
            page = (await self._client.get(f"{site}/market")).raise_for_status()
            pairs = Pairs()
            pairs.feed(page.text)
            self._books, self._listed_s = pairs.books, time.monotonic()
        prices = {}
        for symbol, path in self._books.items():
            answer = (await self._client.get(site + path)).raise_for_status()
            prices[symbol] = mid_price(answer.json())
        return prices


async def follow_trends(pairs: Collection[str], me: outrider.Bot, *, every_s: float) -> None:
    """Compare every pair with its mean of late, at regular times: what warming is best at.

    The closing prices live shorter than the pause, so each look would load them; once the rhythm is
    known they are loaded just before it.
    """
    due_s = time.monotonic()
    while True:
        for symbol in list(pairs):
            with contextlib.suppress(sa.exc.SQLAlchemyError), me.timed("trend"):
                closes = await asyncio.to_thread(loaders.recent_closes, symbol, TREND_CANDLES)
                if closes:
                    mean = sum(closes) / len(closes)
                    me.gauge(f"trend.{symbol}", round(closes[-1] / mean - 1, 5))
        due_s = max(due_s + every_s, time.monotonic())
        await asyncio.sleep(due_s - time.monotonic())


async def watch(
    market: Market,
    watchers: dict[str, Watcher],
    me: outrider.Bot,
    *,
    every_s: float,
    candle_s: int,
) -> None:
    """Look at the market every ``every_s`` seconds, for ever; backs off while it is away."""
    pauses = retry.pauses()
    while True:
        started_s = time.monotonic()
        try:
            with me.timed("round"):
                prices = await market.prices()
                for symbol, price in prices.items():
                    if symbol not in watchers:
                        watchers[symbol] = Watcher(symbol, me, candle_s)
                        await watchers[symbol].remember()
                    await watchers[symbol].see(price, time.time())
        except (httpx.HTTPError, sa.exc.SQLAlchemyError) as error:
            me.count("errors")
            log.warning("a round failed (%r); trying again", error)
            await asyncio.sleep(next(pauses))
            continue
        pauses = retry.pauses()
        me.count("updates", len(prices))
        await asyncio.sleep(max(0.0, started_s + every_s - time.monotonic()))


async def main() -> None:
    """Watch until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    me = outrider.Bot("prices")
    await asyncio.to_thread(tables.engine)
    every_s = whereabouts.number("FLEET_PRICES_EVERY_S", 2)
    trend_s = whereabouts.number("FLEET_TREND_EVERY_S", 8)
    candle_s = max(1, int(whereabouts.number("FLEET_CANDLE_S", 10)))
    watchers: dict[str, Watcher] = {}
    async with me.instrument(httpx.AsyncClient(timeout=10)) as client:
        watching = asyncio.create_task(
            watch(Market(client), watchers, me, every_s=every_s, candle_s=candle_s)
        )
        trends = asyncio.create_task(follow_trends(watchers, me, every_s=trend_s))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
        me.ready()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        trends.cancel()


if __name__ == "__main__":
    asyncio.run(main())
