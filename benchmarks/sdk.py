"""What a bot pays for being measured: each count, each timing, a frame, and the import.

Beside prometheus-client, doing the same labelled work: a name a call here is a label there, and who
keeps a handle here keeps a child there. Counted is this process's own CPU time, user and system, so
that others on the machine disturb little; both take turns, and a ratio is of one turn. Adding up
what was counted is in our figures, since the bot's thread does it. Their histogram has its default
15 buckets, ours keeps each duration within one per cent.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from importlib.metadata import version
from itertools import repeat
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client import CollectorRegistry

from benchmarks import harness
from outrider.sdk.bot import MOST_NAMES, Bot
from outrider.sdk.instruments import Counter, Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

THREADS = 4
KINDS = ("count", "count_handle", "observe", "observe_handle", "timed", "timed_handle")
# Durations of a timing that has seen everything: from 0.1 ms to 0.5 s, with a long tail.
MEDIAN_LOG, SPREAD_LOG = -5.0, 1.0
IMPORTS = {
    "nothing": "pass",
    "outrider": "import outrider; outrider.Bot",
    "a bot": "import outrider; outrider.Bot('canary')",
    "a bot and its first frame": "import outrider; outrider.Bot(transport=bool).flush()",
    "prometheus_client": "import prometheus_client",
}


def main() -> None:
    chosen = harness.options(__doc__ or "")
    runs, calls = (7, 20_000) if chosen.quick else (25, 100_000)
    bot = Bot("benchmark", transport=lambda _message: True)
    sides: dict[str, Ours | Theirs] = {"ours": Ours(bot), "theirs": Theirs()}
    cost = measured(sides, runs, calls)
    threaded = measured(sides, runs, calls // THREADS, threads=THREADS)
    starts, flush = imports_ms(runs), flush_us(runs)
    figures: dict[str, Any] = {
        "count_ns": cost["ours"]["count"]["median"],
        "timing_ns": cost["ours"]["timed"]["median"],
        "import_ms_over_pass": starts["outrider"]["median"],
        "count_ratio": cost["ratio"]["count"]["median"],
        "timing_ratio": cost["ratio"]["timed"]["median"],
        "flush_us_200_names": flush["median"],
        "kib_per_timing": memory_kib(),
        "spread": {
            "ns": cost["ours"],
            f"ns_{THREADS}_threads": threaded["ours"],
            "times_as_cheap": cost["ratio"],
            f"times_as_cheap_{THREADS}_threads": threaded["ratio"],
            "import_ms_over_pass": starts,
            "flush_us_200_names": flush,
        },
    }
    name = f"prometheus-client {version('prometheus-client')}"
    peers = {
        f"{name}, ns": cost["theirs"],
        f"{name}, ns, {THREADS} threads": threaded["theirs"],
        f"{name}, import ms over pass": starts["prometheus_client"],
    }
    harness.finish("sdk", figures, peers)


class Ours:
    """What is done so many times, with Outrider."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self.counter, self.timer = bot.counter("updates"), bot.timer("handle")

    def count(self, times: int) -> None:
        bot = self.bot
        for _ in repeat(None, times):
            bot.count("updates")

    def count_handle(self, times: int) -> None:
        counter = self.counter
        for _ in repeat(None, times):
            counter.add()

    def observe(self, times: int) -> None:
        bot = self.bot
        for _ in repeat(None, times):
            bot.observe("handle", 0.0123)

    def observe_handle(self, times: int) -> None:
        timer = self.timer
        for _ in repeat(None, times):
            timer.observe(0.0123)

    def timed(self, times: int) -> None:
        bot = self.bot
        for _ in repeat(None, times):
            with bot.timed("handle"):
                pass

    def timed_handle(self, times: int) -> None:
        timer = self.timer
        for _ in repeat(None, times):
            with timer.timed():
                pass


class Theirs:
    """The same work with prometheus-client."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.counters = prometheus_client.Counter("updates", "-", ["name"], registry=registry)
        self.histograms = prometheus_client.Histogram("handle", "-", ["name"], registry=registry)
        self.counter = self.counters.labels("updates")
        self.histogram = self.histograms.labels("handle")

    def count(self, times: int) -> None:
        counters = self.counters
        for _ in repeat(None, times):
            counters.labels("updates").inc()

    def count_handle(self, times: int) -> None:
        counter = self.counter
        for _ in repeat(None, times):
            counter.inc()

    def observe(self, times: int) -> None:
        histograms = self.histograms
        for _ in repeat(None, times):
            histograms.labels("handle").observe(0.0123)

    def observe_handle(self, times: int) -> None:
        histogram = self.histogram
        for _ in repeat(None, times):
            histogram.observe(0.0123)

    def timed(self, times: int) -> None:
        histograms = self.histograms
        for _ in repeat(None, times):
            with histograms.labels("handle").time():
                pass

    def timed_handle(self, times: int) -> None:
        histogram = self.histogram
        for _ in repeat(None, times):
            with histogram.time():
                pass


def measured(
    sides: Mapping[str, Ours | Theirs], runs: int, calls: int, *, threads: int = 1
) -> dict[str, dict[str, dict[str, float]]]:
    """Return nanoseconds of CPU a call of both sides, and how many times as cheap ours is."""
    found: dict[str, dict[str, dict[str, float]]] = {"ours": {}, "theirs": {}, "ratio": {}}
    for kind in KINDS:
        work = {side: getattr(doing, kind) for side, doing in sides.items()}
        spent: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(-1, runs):  # the first is not counted
            for side, doing in work.items():
                cost = cost_ns(doing, calls, threads)
                spent[side] += [cost] if turn >= 0 else []
        for side, costs in spent.items():
            found[side][kind] = harness.spread(costs, 0)
        pairs = zip(spent["theirs"], spent["ours"], strict=True)
        found["ratio"][kind] = harness.spread([their / our for their, our in pairs], 2)
    return found


def cost_ns(work: Callable[[int], None], calls: int, threads: int) -> float:
    """Return the CPU time of one call in nanoseconds, done in so many threads at once."""
    before = time.process_time_ns()
    if threads == 1:
        work(calls)
    else:
        running = [threading.Thread(target=work, args=(calls,)) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return (time.process_time_ns() - before) / (calls * threads)


def imports_ms(runs: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of CPU of a start, above those of a program that does nothing.

    Byte code lies ready, as for any installed package.
    """
    spent: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        for _ in range(runs + 1):
            for name, code in IMPORTS.items():
                before = _children_s()
                subprocess.run([sys.executable, "-c", code], env=env, check=True)
                spent[name].append(1000 * (_children_s() - before))
    nothing = statistics.median(spent.pop("nothing")[1:])  # the first run writes the byte code
    return {
        name: harness.spread([ms - nothing for ms in took[1:]], 1) for name, took in spent.items()
    }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def flush_us(runs: int) -> dict[str, float]:
    """Return microseconds of CPU of a frame with as many names of each kind as a bot may have."""
    sizes: set[int] = set()

    def measure(message: bytes) -> bool:
        sizes.add(len(message))
        return True

    bot = Bot("flushes", transport=measure)
    chance = random.Random(7)
    for number in range(MOST_NAMES):
        bot.count(f"counted-{number}")
        bot.gauge(f"gauge-{number}", number)
        for _ in range(100):
            bot.observe(f"timed-{number}", chance.lognormvariate(MEDIAN_LOG, SPREAD_LOG))
    spent = []
    bot.flush()
    for _ in range(runs):
        before = time.process_time_ns()
        bot.flush()
        spent.append((time.process_time_ns() - before) / 1000)
    return harness.spread(spent, 0) | {"frame_bytes": max(sizes)}


def memory_kib() -> dict[str, float]:
    """Return the memory of a timing in KiB by what it has seen, and the most it can have."""
    chance = random.Random(7)
    usual = [chance.lognormvariate(MEDIAN_LOG, SPREAD_LOG) for _ in range(10_000)]
    every = [10 ** (exponent / 1000) for exponent in range(-9500, 9500)]
    found = {}
    for name, durations in {"ten_thousand_usual": usual, "all_there_are": every}.items():
        tracemalloc.start()
        timers = [Timer(Counter) for _ in range(20)]
        for timer in timers:
            for seconds in durations:
                timer.observe(seconds)
        found[name] = round(tracemalloc.get_traced_memory()[0] / 1024 / len(timers), 1)
        tracemalloc.stop()
    return found


if __name__ == "__main__":
    main()
