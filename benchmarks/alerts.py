"""How soon an alert arrives, how many rules x series a core evaluates, and what a storm costs.

``breach_to_notify_p95_ms``: on the running stack at one tick a second, from the tick after a value
crossed its threshold to the webhook's receipt, with no wait between two messages of a group. The
value is a scraped endpoint's, so that it is in the store with the next row; ``gauge`` is a bot's
own gauge, whose frames leave once a second, and therefore up to a second more.

``rules_x_series_per_s``: instances evaluated a second of CPU, states included, one in a hundred of
them firing. The peer evaluates the same thresholds one by one, as a loop over a dictionary.

``flapping``: 10,000 instances that all change at every tick, through the journal in a real Valkey.
"""

from __future__ import annotations

import http.server
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import psutil

from benchmarks import harness
from outrider import settings as settings_module
from outrider.alerts import frame, journal, rules
from outrider.alerts.engine import Engine
from outrider.clock import tick_start
from outrider.store import address, connection
from outrider.supervisor import control
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.alerts.state import Alert

SERIES, BOTS_A_RULE = 2000, 500
INTERVAL_S = 1.0
WITHIN_S = 15.0
FLAPPING = 10_000
WRITTEN = (
    "bot.*.a > 0.99 for 30s",
    "bot.*.b > 0.99 clear 0.9",
    "bot.*.c / bot.*.a > 1000 keep_firing_for 1m",
    "rate(bot.*.n_total, 1m) > 1000",
    "avg(bot.*.a, 1m) > 0.9 and bot.*.b > 0.5",
    "2 of (bot.*.a > 0.9, bot.*.b > 0.9, bot.*.c > 0.9) for 1m",
    "absent(bot.*.a) for 1m",
    "p95(bot.*.b, 1m) > 0.999",
    "50% of (bot.*.a > 0.9)",
    "sum(bot.*.c) > 100000",
)
# Of the peer's kind; half of them hold for a value in a hundred, half for one in a thousand.
THRESHOLDS = tuple(f"bot.*.{what} > {level}" for what in "abc" for level in (0.99, 0.999))
BOT = """
import asyncio
import pathlib
import outrider

async def main():
    bot = outrider.Bot()
    bot.ready()
    while True:
        bot.gauge("breach", float(pathlib.Path("breach").exists()))
        await asyncio.sleep(0.02)
"""


def main() -> None:
    chosen = harness.options(__doc__ or "")
    quick = chosen.quick
    speed = [evaluated(ticks=20 if quick else 100) for _ in range(3 if quick else 7)]
    plain = [evaluated(ticks=20 if quick else 100, texts=THRESHOLDS) for _ in range(len(speed))]
    loop = [looped(ticks=20 if quick else 100) for _ in range(3 if quick else 7)]
    figures: dict[str, Any] = {
        "rules_x_series_per_s": harness.spread(speed, 0)["median"],
        "rules_x_series_per_s_spread": harness.spread(speed, 0),
        "thresholds_only_per_s": harness.spread(plain, 0),
        "flapping": flapping(ticks=20 if quick else 120),
        **notified(breaches=6 if quick else 30),
    }
    peers = {"a loop over a dictionary, thresholds only": harness.spread(loop, 0)}
    harness.finish("alerts", figures, peers)


def table(ticks: int) -> tuple[tuple[str, ...], np.ndarray[Any, Any]]:
    """Return names and rows of a fleet of bots, seeded."""
    names = tuple(
        f"bot.b{bot}.{what}" for bot in range(BOTS_A_RULE) for what in ("a", "b", "c", "n_total")
    )
    values = np.random.default_rng(5).random((ticks, SERIES))
    values[:, 3::4] = np.cumsum(values[:, 3::4], axis=0)
    return names, values


def evaluated(*, ticks: int, texts: tuple[str, ...] = WRITTEN, copies: int = 5) -> float:
    """Return how many instances of rules are evaluated a second of CPU."""
    names, values = table(ticks + 60)
    written = [rules.parse(f"{text} #{copy}", text) for text in texts for copy in range(copies)]
    engine = Engine(written)
    window = frame.rows_window(names, [float(10 * at) for at in range(len(values))], values)
    alerts: dict[str, Alert] = {}
    for at in range(50, 60):
        alerts, _ = engine.evaluate(alerts, frame.Frame(window, at, 10.0), host="h", tick=at)
    began = time.process_time()
    for at in range(60, 60 + ticks):
        row = frame.Frame(window, at, 10.0)
        alerts, _ = engine.evaluate(alerts, row, host="h", tick=at)
    return len(written) * BOTS_A_RULE * ticks / (time.process_time() - began)


def looped(*, ticks: int) -> float:
    """Return the same for the plainest way: every threshold and series, one by one."""
    names, values = table(ticks)
    rows = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    thresholds = [(f".{what}", level) for what in "abc" for level in (0.99, 0.999)]
    states: dict[tuple[str, str], bool] = {}
    began = time.process_time()
    for row in rows:
        for ending, level in thresholds:
            for name, value in row.items():
                if name.endswith(ending):
                    holds = value > level
                    if states.get((ending, name)) != holds:
                        states[ending, name] = holds
    return len(thresholds) * BOTS_A_RULE * ticks / (time.process_time() - began)


def flapping(*, ticks: int) -> dict[str, float]:
    """Return memory and time of 10,000 instances that fire and are resolved in turn."""
    names = tuple(f"bot.b{number}.x" for number in range(FLAPPING))
    engine, process = Engine([rules.parse("flaps", "bot.*.x > 0")]), psutil.Process()
    took, ours, theirs = [], [], []
    with Server() as server, connection.connect(server.url) as client:
        for tick in range(1, ticks + 1):
            row = frame.of_values(dict.fromkeys(names, float(tick % 2)), tick_start(tick, 10.0))
            began = time.perf_counter()
            last, alerts = journal.load(client, "h")
            alerts, changes = engine.evaluate(alerts, row, host="h", tick=tick)
            assert len(changes) == FLAPPING
            assert journal.commit(client, "h", tick, alerts.values(), changes, after_tick=last)
            took.append(time.perf_counter() - began)
            client.delete("or:alerts:outbox")  # what notify does with it is another figure
            ours.append(process.memory_info().rss / 2**20)
            theirs.append(cast("dict[str, int]", client.info("memory"))["used_memory"] / 2**20)
    settled = len(ours) // 2
    return {
        "instances": FLAPPING,
        "ticks": ticks,
        "tick_ms_median": round(1000 * float(np.median(took)), 1),
        "rss_mib_half_way": round(ours[settled], 1),
        "rss_mib_at_the_end": round(ours[-1], 1),
        "redis_mib_half_way": round(theirs[settled], 1),
        "redis_mib_at_the_end": round(theirs[-1], 1),
    }


class Ear(http.server.BaseHTTPRequestHandler):
    """The scraped endpoint, and the webhook."""

    breach = 0.0
    heard: list[tuple[float, dict[str, Any]]] = []  # noqa: RUF012 - one receiver a process

    def do_GET(self) -> None:
        body = f"# TYPE breach gauge\nbreach {Ear.breach}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        at_s = time.time()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Ear.heard.append((at_s, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def notified(*, breaches: int) -> dict[str, Any]:
    """Return how long after the tick the webhook hears of a breach, on the running stack."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "small.py").write_text(BOT)
        (folder / "outrider.toml").write_text(f"""
interval_s = {INTERVAL_S:g}
[bots.small]
entry = "small:main"
[[scrape]]
name = "bench"
url = "http://127.0.0.1:{port}/metrics"
[notify]
group_interval_s = 0
[[notify.webhook]]
url = "http://127.0.0.1:{port}/hook"
allow_private = true
[[alert]]
name = "scraped"
when = "scrape.bench.breach > 0"
[[alert]]
name = "gauge"
when = "bot.small.breach > 0"
""")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OUTRIDER_")}
        with (folder / "stack.log").open("wb") as log:
            stack = subprocess.Popen(
                [sys.executable, "-m", "outrider", "up"],
                cwd=folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                settings = settings_module.load(folder / "outrider.toml")
                wait_ready(settings, stack)
                time.sleep(5)
                found = {
                    "scraped": measured("scraped", set_scraped, breaches),
                    "gauge": measured("gauge", (folder / "breach").touch, breaches,
                                      lambda: (folder / "breach").unlink(missing_ok=True)),
                }  # fmt: skip
            finally:
                stack.send_signal(signal.SIGINT)
                stack.wait(60)
                server.shutdown()
    figures: dict[str, Any] = {}
    for kind, beyond in found.items():
        start = "breach_to_notify" if kind == "scraped" else "gauge_to_notify"
        known = [each for each in beyond if not math.isnan(each)]
        figures[f"{start}_p95_ms"] = round(float(np.percentile(known, 95)), 1) if known else None
        figures[f"{start}_ms"] = harness.spread(known, 1) if known else None
        figures[f"{start}_never"] = len(beyond) - len(known)
    return figures


def set_scraped() -> None:
    Ear.breach = 1.0


def clear_scraped() -> None:
    Ear.breach = 0.0


def measured(
    rule: str, begin: Callable[[], object], count: int, end: Callable[[], object] = clear_scraped
) -> list[float]:
    """Return the milliseconds from the tick after each breach to its webhook; NaN: never."""
    draw = random.Random(3)
    found = []
    for _ in range(count):
        # Anywhere in a tick but at its very start, whose row may still be in the making.
        now = time.time()
        time.sleep(math.floor(now) + 1 + draw.uniform(0.4, 0.95) - now)
        breached_s = time.time()
        begin()
        at_s = heard(rule, "firing", breached_s)
        found.append(1000 * (at_s - math.floor(breached_s + 1)))
        ended_s = time.time()
        end()
        heard(rule, "resolved", ended_s)
    return found


def heard(rule: str, to: str, since_s: float) -> float:
    """Return when the webhook was told, NaN when it was not."""
    while time.time() < since_s + WITHIN_S:
        for at_s, body in Ear.heard:
            told = {(alert["rule"], alert["to"]) for alert in body["alerts"]}
            if at_s >= since_s and (rule, to) in told:
                return at_s
        time.sleep(0.005)
    return math.nan


def wait_ready(settings: settings_module.Settings, stack: subprocess.Popen[bytes]) -> None:
    """Wait until the bot is ready and the addresses are known."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and stack.poll() is None:
        time.sleep(0.5)
        if address.read_stack(settings) and control.answers(settings.run_dir()):
            found = control.ask(settings.run_dir(), "snapshot")["processes"]
            if any(p["kind"] == "bot" and p["state"] == "ready" for p in found):
                return
    raise SystemExit("the stack did not become ready")


if __name__ == "__main__":
    main()
