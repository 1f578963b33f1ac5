"""What the dashboard costs: first paint, page weight, CPU of the browser and of the server.

A real dashboard over a real Valkey with 40 bots and 24 hours of rows, in a real Chromium, on
loopback. Then 80 bots (240 sparklines) that are measured every second: first with a browser that
looks at them, at a window of 1280 by 900, beyond what it takes for an empty page; then with 100
viewers on the stream of events. A viewer counts as held when it got a frame every other second at
least, till the end. CPU shares are of one core, by the kernel's own counters.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import math
import runpy
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from playwright.sync_api import sync_playwright

from benchmarks import harness
from outrider.clock import tick_at
from outrider.store import connection, keys
from outrider.store.redis import RedisStore
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

TOKEN = "token-of-a-benchmark-0123456789"
VIEWERS = 100
PAGES = ("", "alerts", "slo", "database", "cache", "queues", "changes", "bot?host=alpha&name=bot-0",
         "host?name=alpha", "series")  # fmt: skip
_SERVE = "import json, sys; from outrider.web import serve; serve.run(**json.loads(sys.argv[1]))"
_DAY_S = 86_400.0


class Fleet:
    """Writes the rows that workers would write."""

    def __init__(self, url: str, bots: int, interval_s: float) -> None:
        self.interval_s = interval_s
        self.client = connection.connect(url)
        self.store = RedisStore(url, interval_s=interval_s, client=self.client)
        self.names = [f"bot-{n}" for n in range(bots)]
        words = [{"name": name, "bot": name, "state": "ready"} for name in self.names]
        self.client.set(keys.bots("alpha"), json.dumps(words))

    def row(self, tick: int) -> None:
        """Write a tick's row of all bots and of their host."""
        wave = math.sin(tick / 30)
        row = {"host.cpu.used_ratio": 0.4 + 0.2 * wave, "host.memory.used_ratio": 0.6,
               "host.disk.used_ratio": 0.7, "host.load.1m": 1.0 + wave}  # fmt: skip
        for place, name in enumerate(self.names):
            row |= {
                f"bot.{name}.up": 1.0,
                f"bot.{name}.cpu_ratio": 0.1 + 0.05 * math.sin(tick / 7 + place),
                f"bot.{name}.rss_bytes": 1e8 + 1e6 * (tick % 97) + place,
                f"bot.{name}.loop_lag_s": 0.002 + 0.001 * math.cos(tick / 5 + place),
                f"bot.{name}.updates_total": float(tick * (place + 1)),
                f"bot.{name}.heartbeat_age_s": 0.4,
            }
        self.client.zadd(keys.HOSTS, {"alpha": time.time()})
        self.store.append("alpha", tick, row)

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Write a row at every tick meanwhile."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(self.interval_s - time.time() % self.interval_s):
                self.row(tick_at(time.time(), self.interval_s))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextlib.contextmanager
def serving(redis_url: str, interval_s: float) -> Iterator[tuple[str, int, psutil.Process]]:
    """Run the dashboard in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"host": "127.0.0.1", "port": port, "redis_url": redis_url, "token": TOKEN,
             "interval_s": interval_s}  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", _SERVE, json.dumps(given)]) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").close()
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", port, psutil.Process(process.pid)
        finally:
            process.terminate()


def cpu_s(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds that processes' threads took so far, by the scheduler's own clock.

    User and system time are sampled at ticks, and miss what wakes up for less than one.
    """
    threads = (task for each in processes for task in Path(f"/proc/{each.pid}/task").glob("*"))
    taken = 0
    for thread in threads:
        with contextlib.suppress(OSError):  # it ended meanwhile
            taken += int((thread / "schedstat").read_text().split()[0])
    return taken / 1e9


def first_paints(browser: Browser, address: str, runs: int) -> list[float]:
    """Return how long each visit took to its first contentful paint, in milliseconds."""
    found = []
    for _ in range(runs):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(f"{address}/?token={TOKEN}")
        page.wait_for_selector("#bots tr")
        found.append(
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
        context.close()
    return found


def weights(browser: Browser, address: str) -> dict[str, float]:
    """Return what each page fetches but for live data, in KiB as gzip would send it."""
    found = {}
    for path in PAGES:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/?token={TOKEN}")
        sizes: dict[str, int] = {}

        def seen(answer: Any, sizes: dict[str, int] = sizes) -> None:
            kinds = ("document", "script", "stylesheet", "image", "font")
            if answer.request.resource_type in kinds and answer.ok:
                sizes[answer.url] = len(gzip.compress(answer.body(), 6))

        page.on("response", seen)
        page.goto(f"{address}/{path}")
        page.wait_for_timeout(500)
        context.close()
        found[path.partition("?")[0] or "fleet"] = round(sum(sizes.values()) / 1024, 1)
    return found


def browser_share(browser: Browser, address: str, root: psutil.Process, lasts_s: float) -> float:
    """Return the CPU share of a browser that looks at the first screen, beyond an empty page's."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto("about:blank")
    shares = []
    for url in ("about:blank", f"{address}/?token={TOKEN}"):
        page.goto(url)
        page.wait_for_timeout(3000)
        processes = root.children(recursive=True)
        began_s, before = time.monotonic(), cpu_s(processes)
        page.wait_for_timeout(lasts_s * 1000)
        shares.append((cpu_s(processes) - before) / (time.monotonic() - began_s))
    drawn = page.locator("#bots .spark canvas").count()
    context.close()
    assert drawn == 3 * 80, f"{drawn} sparklines were drawn instead of 240"
    return shares[1] - shares[0]


async def watch(port: int, server: psutil.Process, lasts_s: float) -> tuple[float, int]:
    """Return the server's CPU share, and how many of the viewers got news till the end."""
    newest, frames = [0.0] * VIEWERS, [0] * VIEWERS
    ask = (f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
           f"Authorization: Bearer {TOKEN}\r\n\r\n").encode()  # fmt: skip

    async def view(place: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        writer.write(ask)
        try:
            while data := await reader.read(1 << 20):
                if b"\ndata: " in data:
                    newest[place] = time.monotonic()
                    frames[place] += 1
        finally:
            writer.close()

    tasks = [asyncio.create_task(view(place)) for place in range(VIEWERS)]
    await asyncio.sleep(3)
    began_s, before = time.monotonic(), cpu_s([server])
    await asyncio.sleep(lasts_s)
    now_s = time.monotonic()
    share = (cpu_s([server]) - before) / (now_s - began_s)
    held = sum(
        now_s - at_s < 3 and count >= lasts_s / 2
        for at_s, count in zip(newest, frames, strict=True)
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return share, held


def main() -> None:
    options = harness.options("What the dashboard costs.")
    runs, lasts_s, repeats = (5, 5.0, 1) if options.quick else (15, 20.0, 3)
    path = runpy.run_path("tests/prepare.py")["find"]()
    arguments = ["--disable-gpu", "--no-sandbox"]
    with Server() as redis, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        day = Fleet(redis.url, 40, 10.0)
        last = tick_at(time.time(), 10.0)
        for tick in range(last - int((_DAY_S if not options.quick else 7200) / 10), last + 1):
            day.row(tick)
        with day.ticking(), serving(redis.url, 10.0) as (address, _, _process):
            first_paints(browser, address, 1)
            paints = first_paints(browser, address, runs)
            weight = weights(browser, address)
        day.client.flushall()
        live = Fleet(redis.url, 80, 1.0)
        for tick in range(tick_at(time.time(), 1.0) - 120, tick_at(time.time(), 1.0)):
            live.row(tick)
        root = psutil.Process()
        with live.ticking(), serving(redis.url, 1.0) as (address, _, _process):
            chromium = next(each for each in root.children() if "node" in each.name())
            browser_shares = [
                browser_share(browser, address, chromium, lasts_s) for _ in range(repeats)
            ]
        browser.close()
        server_shares, held = _watched(redis.url, lasts_s, repeats, live)
    harness.finish(
        "dashboard",
        {
            "fcp_ms": round(statistics.median(paints), 1),
            "fcp_ms_spread": harness.spread(paints, 1),
            "page_kb_gz": max(weight.values()),
            "page_kb_gz_by_page": weight,
            "browser_cpu_share": round(statistics.median(browser_shares), 4),
            "browser_cpu_share_spread": harness.spread(browser_shares),
            "server_cpu_share_per_viewer": round(statistics.median(server_shares) / VIEWERS, 5),
            "server_cpu_share_of_all_viewers": harness.spread(server_shares),
            "viewers_held": min(held),
        },
        {},
    )


def _watched(
    redis_url: str, lasts_s: float, repeats: int, fleet: Fleet
) -> tuple[list[float], list[int]]:
    shares, held = [], []

    def run() -> None:
        with fleet.ticking(), serving(redis_url, 1.0) as (_, port, server):
            for _ in range(repeats):
                share, kept = asyncio.run(watch(port, server, lasts_s))
                shares.append(share)
                held.append(kept)

    # Playwright keeps an event loop running in this thread.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return shares, held


if __name__ == "__main__":
    main()
