"""What it costs to sample a process: ours through kept descriptors, beside psutil's oneshot.

Starts 100 and then 1,000 real processes that sleep, and reads six metrics of each: CPU time,
resident memory, threads, open descriptors, bytes read and written, context switches. Counted is
this process's own CPU time, user and system, so that others on the machine disturb little. Both
readers take turns, in pairs, and the ratio is of each pair. Before anything is measured, both must
read the same values of every process.

Beside these: the whole collector, which also gives names, differences and, of some processes in
turn, the proportional share of memory; psutil without oneshot; one look at the machine itself; and
a line of StatsD.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import harness
from outrider.metrics import procfs
from outrider.metrics.host import HostCollector
from outrider.metrics.process import RESERVED_DESCRIPTORS, ProcessCollector, allow_descriptors
from outrider.metrics.procfs import ProcReader
from outrider.metrics.statsd import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIZES = (100, 1000)
# So many samples a measurement at least: a hundred processes are read several times over.
SAMPLES = 1000


def main() -> None:
    chosen = harness.options(__doc__ or "")
    runs = 5 if chosen.quick else 15
    sizes: dict[str, dict[str, dict[str, float]]] = {}
    for count in SIZES:
        with sleepers(count) as pids:
            sizes[str(count)] = measured(pids, runs)
    figures: dict[str, Any] = {
        # The worse of both sizes counts.
        "us_per_process": max(size["us_per_process"]["median"] for size in sizes.values()),
        "psutil_ratio": min(size["psutil_ratio"]["median"] for size in sizes.values()),
        "us_per_process_as_series": max(size["as_series"]["median"] for size in sizes.values()),
        "us_per_host": machine_us(runs),
        "us_per_statsd_line": statsd_us(runs),
        "spread": {
            f"{count}_processes": {
                name: size[name] for name in ("us_per_process", "psutil_ratio", "as_series")
            }
            for count, size in sizes.items()
        },
    }
    peers = {
        f"psutil {psutil.__version__} {name}, us per process of {count}": size[name]
        for count, size in sizes.items()
        for name in ("oneshot", "without oneshot")
    }
    harness.finish("collection", figures, peers)


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    """Run processes that do nothing."""
    allow_descriptors(count * procfs.DESCRIPTORS_EACH + RESERVED_DESCRIPTORS)
    running = [subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        deadline = time.monotonic() + 60
        while any(psutil.Process(process.pid).name() != "sleep" for process in running):
            if time.monotonic() > deadline:
                raise SystemExit("the processes do not start")
            time.sleep(0.1)
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def measured(pids: Sequence[int], runs: int) -> dict[str, dict[str, float]]:
    """Return microseconds of CPU a process and sample, and how many times less than psutil."""
    ours = [ProcReader(pid) for pid in pids]
    theirs = [psutil.Process(pid) for pid in pids]
    compare(ours, theirs)
    collector = ProcessCollector()
    named: dict[str, int | None] = {f"bot-{pid}": pid for pid in pids}
    ticks = iter(range(10**9))
    turns: dict[str, Callable[[], None]] = {
        "us_per_process": lambda: each(ProcReader.read, ours),
        "oneshot": lambda: each(with_oneshot, theirs),
        "without oneshot": lambda: each(six_metrics, theirs),
        "as_series": lambda: use(collector.collect(named, time.time() + next(ticks))),
    }
    rounds = max(1, SAMPLES // len(pids))
    for turn in turns.values():  # nothing is opened for the first time while it is measured
        turn()
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(runs):
        for name, turn in turns.items():
            taken[name].append(cost_us(turn, rounds) / len(pids))
    collector.close()
    for reader in ours:
        reader.close()
    pairs = zip(taken["oneshot"], taken["us_per_process"], strict=True)
    ratios = [psutils / own for psutils, own in pairs]
    found = {name: harness.spread(values, 2) for name, values in taken.items()}
    return found | {"psutil_ratio": harness.spread(ratios, 2)}


def machine_us(runs: int) -> dict[str, float]:
    """Return microseconds of CPU of one look at the machine: a whole ``host.*``."""
    collector, ticks = HostCollector(), iter(range(10**9))

    def turn() -> None:
        collector.collect(float(next(ticks)))

    turn()
    return harness.spread([cost_us(turn, 20) for _ in range(runs)], 1)


def statsd_us(runs: int) -> dict[str, float]:
    """Return microseconds of CPU a line, of counters, gauges, timings and tags in turn."""
    tally = Tally()
    lines = (b"updates:1|c", b"queue:4|g", b"took:12.5|ms|#handler:start", b"seen:1|c|@0.1|#env:a")

    def turn() -> None:
        for _ in range(SAMPLES):
            for line in lines:
                tally.take(line, 0.0)

    turn()
    return harness.spread([cost_us(turn, 3) / SAMPLES / len(lines) for _ in range(runs)], 2)


def cost_us(turn: Callable[[], None], rounds: int) -> float:
    """Return the CPU time of one turn in microseconds: the middle of several."""
    spent = []
    for _ in range(rounds):
        before = time.process_time_ns()
        turn()
        spent.append((time.process_time_ns() - before) / 1000)
    return statistics.median(spent)


def each(read: Callable[[Any], Any], of: Sequence[Any]) -> None:
    for one in of:
        read(one)


def use(_: object) -> None:
    """Take a result as a caller would."""


def six_metrics(process: psutil.Process) -> tuple[Any, ...]:
    """Return what psutil says of the six."""
    return (
        process.cpu_times(), process.memory_info(), process.num_threads(), process.num_fds(),
        process.io_counters(), process.num_ctx_switches(),
    )  # fmt: skip


def with_oneshot(process: psutil.Process) -> tuple[Any, ...]:
    """Return what psutil says of the six, its cheapest way."""
    with process.oneshot():
        return six_metrics(process)


def compare(ours: Sequence[ProcReader], theirs: Sequence[psutil.Process]) -> None:
    """End with a message when the two do not read the same."""
    for reader, process in zip(ours, theirs, strict=True):
        mine = reader.read()
        cpu, memory, threads, fds, io, switches = with_oneshot(process)
        same = (memory.rss, threads, fds, io.read_bytes, io.write_bytes) == (
            mine.rss_bytes, mine.threads, mine.fds, mine.io_read_bytes, mine.io_write_bytes,
        )  # fmt: skip
        told = (switches.voluntary, switches.involuntary)
        same = same and told == (mine.switches_voluntary, mine.switches_involuntary)
        # psutil counts in hundredths of a second.
        if not same or abs(cpu.user + cpu.system - mine.cpu_seconds) > 0.02:
            raise SystemExit(f"process {process.pid} is read differently: {mine}")


if __name__ == "__main__":
    main()
