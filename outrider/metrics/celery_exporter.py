"""Celery's numbers under the names of celery-exporter, so that its dashboards and alerts go on.

Names, labels and meaning are those of github.com/danihodovic/celery-exporter; the list in
``tests/unit/metrics/celery_exporter_metrics.json`` holds us to them. What is different, on purpose:

- A label ``app`` says whose they are, as its option ``--static-label app=shop`` would.
- A queue's length counts all of its priorities; there, the first only.
- ``celery_active_consumer_count`` counts, on Redis too, the workers that take from a queue.
- Counters go on after a restart. Those of a worker that is forgotten end, as there.
- ``celery_worker_last_heartbeat_timestamp``, which it had in earlier versions.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from outrider.metrics import celery
from outrider.metrics.celery_counts import BOUNDS_S, GONE, KINDS, OWN
from outrider.metrics.celery_events import host_of
from outrider.metrics.celery_queues import Layout
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.metrics.celery import State

# An application that nobody wrote of for a day is no longer watched.
GONE_AFTER_S = 86_400.0

HELP = {
    "celery_task_sent": "Sent when a task message is published.",
    "celery_task_received": "Sent when the worker receives a task.",
    "celery_task_started": "Sent just before the worker executes the task.",
    "celery_task_succeeded": "Sent if the task executed successfully.",
    "celery_task_failed": "Sent if the execution of the task failed.",
    "celery_task_rejected": "The task was rejected by the worker, possibly to be re-queued or moved"
    " to a dead letter queue.",
    "celery_task_revoked": "Sent if the task has been revoked.",
    "celery_task_retried": "Sent if the task failed, but will be retried in the future.",
    "celery_task_runtime": "Histogram of task runtime measurements.",
    "celery_worker_up": "Indicates if a worker has recently sent a heartbeat.",
    "celery_worker_tasks_active": "The number of tasks the worker is currently processing",
    "celery_worker_last_heartbeat_timestamp": "When the worker's last heartbeat was heard.",
    "celery_queue_length": "The number of message in broker queue.",
    "celery_active_consumer_count": "The number of active consumer in broker queue.",
    "celery_active_worker_count": "The number of active workers in broker queue.",
    "celery_active_process_count": "The number of active processes in broker queue.",
}

Kind = Literal["counter", "gauge", "histogram"]


class Sample(NamedTuple):
    """One line of an exposition; a counter's end in ``_total``, a histogram's in its parts."""

    name: str
    kind: Kind
    labels: dict[str, str]
    value: float

    @property
    def family(self) -> str:
        """Return what the lines of one metric share, which has one kind and one help text.

        >>> Sample("celery_task_runtime_bucket", "histogram", {"le": "0.5"}, 1.0).family
        'celery_task_runtime'
        """
        return self.name if self.kind == "gauge" else self.name.rpartition("_")[0]


def samples(
    client: redis.Redis, *, now_s: float | None = None, queues: bool = True
) -> Iterator[Sample]:
    """Yield the samples of every application, ours and those watched, family by family.

    Those of a family follow each other; a histogram's buckets are cumulative and in order. Counters
    end in ``_total`` as in the text format. ``queues`` leaves the lengths of our own queues out,
    which costs a look at them.

    Raises:
        redis.RedisError: our Redis does not answer.
    """
    now_s = time.time() if now_s is None else now_s
    written = cast(
        "list[bytes]", client.zrangebyscore(keys.CELERY_APPS, now_s - GONE_AFTER_S, "+inf")
    )
    found: dict[str, list[Sample]] = {family: [] for family in HELP}
    for app in sorted(name.decode("utf-8", "replace") for name in written):
        state = celery.state_of(client, app, 0)
        lengths = _lengths(client, app, state, now_s) if queues else {}
        for sample in (
            *_counters(app, state), *_runtimes(app, state),
            *_workers(app, state, now_s), *_queues(app, state, now_s, lengths),
        ):  # fmt: skip
            found[sample.family].append(sample)
    for family in found.values():
        yield from family


def _counters(app: str, state: State) -> Iterator[Sample]:
    """Yield counters; as there, who has one has all of them, at zero: rates need a beginning."""
    sums: Counter[tuple[str, ...]] = Counter()
    for each, by in state.counts.items():
        if each.kind not in KINDS or each.worker == GONE:
            continue
        whose = (each.task, host_of(each.worker), each.queue)
        sums[(each.kind, *whose, each.exception)] += by
        if each.kind != "sent":
            for kind in KINDS:
                sums[(kind, *whose, "")] += 0
    for kind, task, host, queue, exception in sorted(sums):
        labels = {"name": task, "hostname": host}
        if kind == "failed":
            labels["exception"] = exception
        labels |= {"queue_name": queue, "app": app}
        value = float(sums[(kind, task, host, queue, exception)])
        yield Sample(f"celery_task_{kind}_total", "counter", labels, value)


def _runtimes(app: str, state: State) -> Iterator[Sample]:
    held: dict[tuple[str, str, str], Counter[str]] = {}
    for each, by in state.counts.items():
        if each.worker != GONE and (each.kind == "us" or each.kind.startswith("le")):
            whose = (each.task, host_of(each.worker), each.queue)
            held.setdefault(whose, Counter())[each.kind] += by
    family = "celery_task_runtime"
    for (task, host, queue), parts in sorted(held.items()):
        labels = {"name": task, "hostname": host, "queue_name": queue, "app": app}
        below = 0
        for place, bound in enumerate((*map(repr, BOUNDS_S), "+Inf")):
            below += parts[f"le{place}"]
            yield Sample(f"{family}_bucket", "histogram", labels | {"le": bound}, float(below))
        yield Sample(f"{family}_count", "histogram", labels, float(below))
        yield Sample(f"{family}_sum", "histogram", labels, parts["us"] / 1e6)


def _workers(app: str, state: State, now_s: float) -> Iterator[Sample]:
    """Yield one line a host: where several workers share it, it is up if one of them is."""
    until_s = celery.heard_until(state, now_s)
    hosts: dict[str, tuple[bool, int, float]] = {}
    for name, worker in sorted(state.workers.items()):
        if worker.forgotten(now_s):
            continue
        up, active, at_s = hosts.get(host_of(name), (False, 0, 0.0))
        lives = worker.state(until_s) == "up"
        hosts[host_of(name)] = (
            up or lives, active + (worker.active if lives else 0), max(at_s, worker.at_s),
        )  # fmt: skip
    for host, (up, active, at_s) in hosts.items():
        labels = {"hostname": host, "app": app}
        for name, value in (
            ("celery_worker_up", float(up)),
            ("celery_worker_tasks_active", float(active)),
            ("celery_worker_last_heartbeat_timestamp", at_s),
        ):
            yield Sample(name, "gauge", labels, value)


def _queues(app: str, state: State, now_s: float, lengths: dict[str, float]) -> Iterator[Sample]:
    until_s = celery.heard_until(state, now_s)
    workers: Counter[str] = Counter(dict.fromkeys(lengths, 0))
    processes: Counter[str] = Counter()
    for worker in state.workers.values():
        if worker.state(until_s) == "up":
            for queue in worker.queues:
                workers[queue] += 1
                processes[queue] += worker.processes or 0
    for queue, length in sorted(lengths.items()):
        labels = {"queue_name": queue, "app": app}
        yield Sample("celery_queue_length", "gauge", labels, length)
    for queue in sorted(workers):
        labels = {"queue_name": queue, "app": app}
        for name, value in (
            ("celery_active_consumer_count", workers[queue]),
            ("celery_active_worker_count", workers[queue]),
            ("celery_active_process_count", processes[queue]),
        ):
            yield Sample(name, "gauge", labels, float(value))


def _lengths(client: redis.Redis, app: str, state: State, now_s: float) -> dict[str, float]:
    """Return how long queues are: as last seen, and of ours as they are now."""
    if app == OWN:
        names = sorted({queue for worker in state.workers.values() for queue in worker.queues})
        lists = [(name, key) for name in names for key in Layout().lists(name)]
        with client.pipeline(transaction=False) as pipe:
            for _, key in lists:
                pipe.llen(key)
            counted = pipe.execute() if lists else []
        lengths = dict.fromkeys(names, 0.0)
        for (name, _), length in zip(lists, counted, strict=True):
            lengths[name] += length
        return lengths
    seen = state.sight
    if seen is None or not seen.up or not celery.fresh(seen, now_s):
        return {}
    return {name: float(queue["length"] or 0) for name, queue in seen.queues.items()}
