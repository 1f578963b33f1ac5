"""Runs bot processes on one server and collects what they waited; and what one pool would do."""

from __future__ import annotations

import heapq
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

START_S = 2.0
ROWS = 20_000


@dataclass(frozen=True)
class Outcome:
    """What a fleet did: rows of due, wait and hold in seconds, errors, most connections seen."""

    done: NDArray[np.float64]
    errors: tuple[str, ...]
    most_open: int

    def p99_wait_s(self) -> float:
        """Return the 99th percentile of all waits."""
        return float(np.quantile(self.done[:, 1], 0.99))

    def p99_total_s(self) -> float:
        """Return the 99th percentile of the times from due to done."""
        return float(np.quantile(self.done[:, 1] + self.done[:, 2], 0.99))


def prepare(url: str) -> None:
    """Make the table that the bots work on."""
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS account")
        connection.execute("CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
        connection.execute("CREATE INDEX ON account (balance)")
        connection.execute("DROP TABLE IF EXISTS event")
        connection.execute("CREATE TABLE event (id bigserial PRIMARY KEY, account int NOT NULL)")
        connection.execute("INSERT INTO account SELECT n, 0 FROM generate_series(0, %s) n", (ROWS,))


def arrivals(rates: Sequence[tuple[float, float]], hold_s: float, seed: int) -> list[list[float]]:
    """Return due times and exponential holds of a Poisson stream; ``rates`` are (seconds, rate)."""
    random = np.random.default_rng(seed)
    rows: list[list[float]] = []
    begins_s = 0.0
    for lasts_s, rate in rates:
        count = random.poisson(rate * lasts_s)
        due = np.sort(random.uniform(begins_s, begins_s + lasts_s, count))
        holds = random.exponential(hold_s, count)
        rows += [[float(at), float(hold)] for at, hold in zip(due, holds, strict=True)]
        begins_s += lasts_s
    return rows


def run(
    url: str,
    work: Sequence[Sequence[Sequence[float]]],
    *,
    options: Sequence[Mapping[str, Any]],
    environment: Sequence[Mapping[str, str]],
    watch_url: str,
    **more: Any,
) -> Outcome:
    """Run one process for each stream of work, and count its connections meanwhile.

    ``more`` is told to each bot; see :mod:`benchmarks.pools.bot`.
    """
    processes = []
    for place, rows in enumerate(work):
        given = {"url": url, "work": rows, "place": place, **more}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pools.bot"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment[place], "OUTRIDER_BOT": f"bot{place}"},
        )
        assert process.stdin
        process.stdin.write(json.dumps({**given, "options": dict(options[place])}).encode())
        process.stdin.write(b"\n")
        process.stdin.flush()
        processes.append(process)
    # A loaded machine starts them slowly, and what is due waits for nobody.
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
    start_s = time.time() + START_S
    for process in processes:
        assert process.stdin
        process.stdin.write(f"{start_s}\n".encode())
        process.stdin.close()
    most_open = 0
    with psycopg.connect(watch_url, autocommit=True) as watch:
        while any(process.poll() is None for process in processes) and not _readable(processes):
            row = watch.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bot'"
            ).fetchone()
            most_open = max(most_open, row[0] if row else 0)
            time.sleep(0.05)
    outputs = [process.stdout.read() if process.stdout else b"" for process in processes]
    for process in processes:
        process.wait()
    every = [row for output in outputs for row in json.loads(output)]
    fine = [(row["due_s"], row["wait_s"], row["hold_s"]) for row in every if not row["error"]]
    errors = tuple(row["error"] for row in every if row["error"])
    return Outcome(np.array(sorted(fine)), errors, most_open)


def _readable(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Tell whether all have begun to write: pipes hold 64 KiB, and none would end unread."""
    import select

    outputs = [process.stdout for process in processes if process.stdout]
    return len(select.select(outputs, [], [], 0)[0]) == len(outputs)


def shared_pool_waits(done: NDArray[np.float64], connections: int) -> NDArray[np.float64]:
    """Return what the same work would wait for one pool of all connections, in its order.

    ``done`` has due times and measured holds. Nothing but the queue costs time there.
    """
    free = [0.0] * connections
    heapq.heapify(free)
    waits = np.empty(len(done))
    for place, (due_s, _, hold_s) in enumerate(done):
        begins_s = max(due_s, heapq.heappop(free))
        waits[place] = begins_s - due_s
        heapq.heappush(free, begins_s + hold_s)
    return waits
