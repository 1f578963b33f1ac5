"""What the pool and its measuring cost: CPU a query, a checkout, and the time of a resize.

On a real PostgreSQL, on one thread, in turns of shuffled order, by the CPU time of this process: a
busy machine lengthens the time that a clock shows, and hardly what a thread used.

- ``instrumentation_us``: connect, one read by primary key, give back, with all that is measured
  (waits, holds, statements, rows, errors, idle in transactions, leaks, loops), less the same on the
  same pool with nothing measured. Side by side: SQLAlchemy's cursor events that do no more than add
  up times by statement.
- ``checkout_ratio``: checkout and return of our pool over those of SQLAlchemy's QueuePool, neither
  measured; ``checkout_ratio_measured`` with the measuring.
- ``resize_ms``: from ``resize`` under load until the server counts what was asked for; the
  greatest of all steps. ``above_most`` is how many connections there were beyond the greater of the
  old and the new size, ``resize_errors`` how many checkouts failed.
"""

from __future__ import annotations

import gc
import random
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from benchmarks import harness
from benchmarks.pools import fleet
from outrider.database import tally
from outrider.database.resizable import ResizablePool
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

READ = sa.text("SELECT balance FROM account WHERE id = :id")
# Blocks of one variant are short, so that the machine's moods meet all alike.
BLOCK = 40
SIZES = (20, 4, 12, 3, 16)
THREADS = 40


def main() -> None:
    chosen = harness.options(__doc__ or "")
    rounds, repeats = (60, 1) if chosen.quick else (300, 3)
    figures: dict[str, Any] = {}
    measured: dict[str, list[float]] = {}
    steps: list[float] = []
    above = errors = 0
    with postgres.Postgres(postgres.find()) as server:
        fleet.prepare(server.url)
        for _ in range(repeats):
            for name, value in costs(server.url, rounds).items():
                measured.setdefault(name, []).append(value)
            took, too_many, failed = resizes(server)
            steps += took
            above = max(above, too_many)
            errors += failed
    for name in ("instrumentation_us", "checkout_ratio", "checkout_ratio_measured"):
        figures[name] = round(statistics.median(measured[name]), 3)
        figures[f"{name}_spread"] = harness.spread(measured[name], 3)
    figures |= {
        "resize_ms": round(max(steps), 1),
        "resize_ms_spread": harness.spread(steps, 1),
        "above_most": above,
        "resize_errors": errors,
    }
    peers = {
        name: harness.spread(values, 2)
        for name, values in measured.items()
        if f"{name}_spread" not in figures
    }
    harness.finish("database_costs", figures, peers)


def costs(url: str, rounds: int) -> dict[str, float]:
    """Return the costs of one repetition, each from the quiet tenth of all its blocks."""
    engines = {
        "plain": made(url, ResizablePool),
        "again": made(url, ResizablePool),
        "measured": made(url, ResizablePool),
        "events": made(url, ResizablePool),
        "queue": made(url, QueuePool),
    }
    pool = engines["measured"].pool
    assert isinstance(pool, ResizablePool)
    pool.watcher = tally.Watch()
    tally.attach(engines["measured"])
    listen(engines["events"])
    query = in_turns(engines, read, rounds)
    checkout = in_turns(engines, take, rounds)
    for engine in engines.values():
        engine.dispose()
    return {
        "instrumentation_us": query["measured"] - query["plain"],
        "cursor_events_us": query["events"] - query["plain"],
        "null_difference_us": query["again"] - query["plain"],
        "query_us": query["plain"],
        "checkout_ratio": checkout["plain"] / checkout["queue"],
        "checkout_ratio_measured": checkout["measured"] / checkout["queue"],
        "checkout_us_queue_pool": checkout["queue"],
    }


def made(url: str, pool: type[QueuePool]) -> sa.Engine:
    address = sa.make_url(url).set(drivername="postgresql+psycopg")
    return sa.create_engine(address, poolclass=pool, pool_size=2, max_overflow=0)


def listen(engine: sa.Engine) -> None:
    """Add up times by statement as one does with events."""
    totals: dict[str, list[float]] = {}

    def before(*given: Any) -> None:
        given[4].began_s = time.perf_counter()

    def after(*given: Any) -> None:
        seconds = time.perf_counter() - given[4].began_s
        total = totals.setdefault(given[2], [0.0, 0.0])
        total[0] += 1
        total[1] += seconds

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "after_cursor_execute", after)


def in_turns(
    engines: dict[str, sa.Engine], do: Callable[[sa.Engine], None], rounds: int
) -> dict[str, float]:
    """Return the CPU time of each engine's work in microseconds, at the tenth percentile."""
    seen: dict[str, list[float]] = {name: [] for name in engines}
    names = list(engines)
    for name in names:
        for _ in range(BLOCK):
            do(engines[name])
    gc.disable()
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            began_s = time.thread_time()
            for _ in range(BLOCK):
                do(engines[name])
            seen[name].append((time.thread_time() - began_s) / BLOCK * 1e6)
        gc.collect(0)
    gc.enable()
    return {name: statistics.quantiles(values, n=10)[0] for name, values in seen.items()}


def read(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(READ, {"id": 7}).all()


def take(engine: sa.Engine) -> None:
    engine.pool.connect().close()


def resizes(server: postgres.Postgres) -> tuple[list[float], int, int]:
    """Return how long each resize took in ms, how many connections too many, and failures."""
    engine = made(server.url, ResizablePool)
    pool = engine.pool
    assert isinstance(pool, ResizablePool)
    pool.resize(10)
    stop, errors = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            try:
                with pool.connect():
                    time.sleep(random.uniform(0, 0.02))
            except Exception as error:  # noqa: BLE001 - counted
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    steps, above, old = [], 0, 10
    with psycopg.connect(server.superuser_url, autocommit=True) as watch:
        time.sleep(1)
        for size in SIZES:
            began_s = time.perf_counter()
            pool.resize(size)
            took_s = None
            while time.perf_counter() < began_s + 1:
                row = watch.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bot'"
                ).fetchone()
                count = row[0] if row else 0
                above = max(above, count - max(old, size))
                if took_s is None and count == size:
                    took_s = time.perf_counter() - began_s
            steps.append((took_s if took_s is not None else 1.0) * 1000)
            old = size
    stop.set()
    for thread in threads:
        thread.join()
    engine.dispose()
    return steps, above, len(errors)


if __name__ == "__main__":
    main()
