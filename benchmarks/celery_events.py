"""What it costs to follow other Celery applications' events: events per CPU second, and memory.

Beside Flower's ``EventsState`` (which counts for Prometheus and keeps tasks) and Celery's own
``State`` (which celery-exporter keeps), each in a process of its own, on the same events: received,
started and succeeded of every task. ``fold`` takes messages as kombu publishes them, decodes and
counts them; the peers get events that are decoded already, which flatters them. ``heard`` is the
whole way of a burst that is published on a real Valkey: connection, decoding, counting, and flushes
once a second; it fails when one of them is not counted.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import harness
from outrider.metrics import celery_counts
from outrider.metrics.celery_counts import Ledger, Tally
from outrider.metrics.celery_events import Fold
from outrider.store import connection
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

BURST = 50_000
NAMES = [f"shop.task{number}" for number in range(20)]
BATCH = 24  # what a worker with an event loop sends together, at most


def main() -> None:
    chosen = harness.options(__doc__ or "")
    runs = 1 if chosen.quick else 5
    figures: dict[str, Any] = {}
    for name, run in (("fold", fold), ("fold_batched", fold_batched)):
        figures[name] = measured(run, runs)
    with Server() as server:
        figures["heard"] = measured(heard, runs, server.url)
    peers = {
        "Flower EventsState": measured(flower, runs),
        "celery.events.State": measured(state, runs),
    }
    figures["events_per_cpu_s"] = figures["heard"]["events_per_cpu_s"]["median"]
    flowers = peers["Flower EventsState"]["events_per_cpu_s"]["median"]
    figures["flower_ratio"] = round(figures["fold"]["events_per_cpu_s"]["median"] / flowers, 1)
    figures["grown_mib"] = figures["heard"]["grown_mib"]["median"]
    figures["count_us"] = signal_us()
    harness.finish("celery_events", figures, peers)


def events(count: int) -> Iterator[dict[str, Any]]:
    """Yield what workers say of ``count / 3`` tasks."""
    common = {"hostname": "celery@market", "utcoffset": 0, "pid": 7}
    for number in range(count // 3):
        task = str(uuid.UUID(int=number))
        at = common | {"uuid": task, "timestamp": time.time(), "clock": number}
        yield at | {
            "type": "task-received", "name": NAMES[number % len(NAMES)], "args": "('a', 1)",
            "kwargs": "{'of': 'shop'}", "root_id": task, "parent_id": None, "retries": 0,
            "eta": None, "expires": None,
        }  # fmt: skip
        yield at | {"type": "task-started"}
        yield at | {"type": "task-succeeded", "result": "'" + "x" * 100 + "'", "runtime": 0.01}


def published(body: Any) -> bytes:
    """Return a message as it comes from the channel."""
    text = base64.b64encode(json.dumps(body).encode()).decode()
    return json.dumps({
        "body": text, "content-encoding": "utf-8", "content-type": "application/json",
        "headers": {"hostname": "celery@market"},
        "properties": {"delivery_mode": 1, "delivery_info": {"exchange": "celeryev",
                       "routing_key": "task.multi"}, "priority": 0, "body_encoding": "base64",
                       "delivery_tag": str(uuid.uuid4())},
    }).encode()  # fmt: skip


def fold(answer: Connection) -> None:
    messages = [published(each) for each in events(BURST)]
    counter = Fold(Tally())
    report(answer, lambda: sum(counter.message(each, 1.0) for each in messages))


def fold_batched(answer: Connection) -> None:
    each = list(events(BURST))
    messages = [published(each[at : at + BATCH]) for at in range(0, len(each), BATCH)]
    counter = Fold(Tally())
    report(answer, lambda: sum(counter.message(each, 1.0) for each in messages))


def heard(answer: Connection, url: str) -> None:
    """Listen as the observer does, while another process publishes the burst."""
    with connection.connect(url) as client, client.pubsub() as channel:
        client.flushall()
        tally = Tally()
        counter, ledger = Fold(tally), Ledger(client, "shop")
        channel.psubscribe("/0.celeryev/*")
        channel.get_message(timeout=1.0)
        sender = multiprocessing.get_context("spawn").Process(target=publish, args=(url,))
        ended = threading.Event()

        def flush() -> None:
            while not ended.wait(1.0):
                ledger.flush(tally, time.time(), 0)

        def listen() -> int:
            sender.start()
            flusher = threading.Thread(target=flush)
            flusher.start()
            count = 0
            while count < BURST // 3 * 3:
                message = channel.get_message(timeout=10.0)
                if message is None:
                    break
                count += counter.message(message["data"], time.time())
            ended.set()
            flusher.join()
            ledger.flush(tally, time.time(), 0)
            return count

        report(answer, listen)
        sender.join()
        kept = sum(
            by for each, by in celery_counts.read(client, "shop").items()
            if each.kind in celery_counts.KINDS
        )  # fmt: skip
        assert kept == BURST // 3 * 3, f"{kept} of {BURST // 3 * 3} events were counted"


def publish(url: str) -> None:
    messages = [published(each) for each in events(BURST)]
    with connection.connect(url) as client:
        for at in range(0, len(messages), 500):
            with client.pipeline(transaction=False) as pipe:
                for message in messages[at : at + 500]:
                    pipe.publish("/0.celeryev/task.multi", message)
                pipe.execute()


def flower(answer: Connection) -> None:
    from flower.events import EventsState

    kept = EventsState(max_tasks_in_memory=100_000)
    feed(answer, kept.event)


def state(answer: Connection) -> None:
    from celery.events.state import State

    feed(answer, State().event)


def feed(answer: Connection, take: Callable[[dict[str, Any]], Any]) -> None:
    each = list(events(BURST))
    for event in each:
        event["local_received"] = event["timestamp"]

    def run() -> int:
        for event in each:
            take(event)
        return len(each)

    report(answer, run)


def report(answer: Connection, run: Callable[[], int]) -> None:
    """Send what a run took: events per CPU second of this process, and the memory it grew by."""
    process = psutil.Process()
    before, began_s = process.memory_info().rss, time.process_time()
    count = run()
    cpu_s = time.process_time() - began_s
    answer.send((count / cpu_s, (process.memory_info().rss - before) / 2**20))


def measured(run: Callable[..., None], runs: int, *arguments: Any) -> dict[str, Any]:
    """Run each time in a fresh process, so that memory and caches are its own."""
    rates, grown = [], []
    for _ in range(runs):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=run, args=(theirs, *arguments)
        )
        process.start()
        rate, mib = ours.recv()
        process.join()
        assert process.exitcode == os.EX_OK
        rates.append(rate)
        grown.append(mib)
    return {"events_per_cpu_s": harness.spread(rates, 0), "grown_mib": harness.spread(grown, 1)}


def signal_us() -> float:
    """Return what one count costs in our own worker, in microseconds."""
    tally, times = Tally(), 200_000
    began_s = time.process_time()
    for _ in range(times):
        tally.add("started", "outrider.collect.host", "outrider@alpha", "outrider.host.alpha")
    return round((time.process_time() - began_s) / times * 1e6, 2)


if __name__ == "__main__":
    main()
