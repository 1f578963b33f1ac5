"""Folds Celery's events into counts, one at a time: nothing is kept of a task that is over.

Flower and celery-exporter keep every task they heard of (Flower 3.9 KiB each). What is wanted is
counts, so all that is remembered is what an event does not say itself: the name and queue of tasks
that are under way, in a bounded map, and one record a worker.

Messages are read as kombu puts them on a Redis channel: JSON around base64 around JSON, decoded
here by msgspec into what is used of them, which leaves out arguments, results and tracebacks.

Events are sent to whoever listens; what nobody heard is gone. A heartbeat says how many tasks its
worker began, and so what is missing is counted (``unseen``, see :mod:`.celery_workers`).
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from typing import TYPE_CHECKING

import msgspec

from outrider.metrics.celery_workers import MOST_WORKERS, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.metrics.celery_counts import Tally

# Tasks under way whose name and queue are remembered: some 6 MiB. One that was pushed out is
# counted under UNKNOWN when it ends.
MOST_TASKS = 20_000
# Clients that send tasks are many and short-lived; beyond this they share a name.
MOST_SENDERS = 100
GENERIC = "generic"
# As celery-exporter calls them, whose dashboards leave "None" out.
UNKNOWN = "None"
DEFAULT_QUEUE = "celery"
_EXCEPTION = re.compile(r"^(\w+)\(")
_TASK = "task-"
_COUNTED = {
    f"{_TASK}{kind}": kind
    for kind in ("sent", "received", "started", "succeeded", "failed", "rejected", "revoked",
                 "retried")
}  # fmt: skip
_OVER = frozenset({"succeeded", "failed", "rejected", "revoked"})
_OWN_TASKS = "outrider."
_OWN_WORKERS = "outrider@"


class Event(msgspec.Struct, gc=False):
    """What is used of an event."""

    type: str
    hostname: str = ""
    pid: int = 0
    uuid: str = ""
    name: str | None = None
    queue: str | None = None
    runtime: float | None = None
    exception: str | None = None
    freq: float | None = None
    active: int | None = None
    processed: int | None = None


class _Properties(msgspec.Struct, gc=False):
    body_encoding: str | None = None


class _Message(msgspec.Struct, gc=False):
    body: str
    properties: _Properties


class _Task(msgspec.Struct, gc=False):
    name: str
    queue: str
    sent_s: float | None = None


_messages = msgspec.json.Decoder(_Message)
_events = msgspec.json.Decoder(Event | list[Event])
_parts = msgspec.json.Decoder(list[msgspec.Raw])
_one = msgspec.json.Decoder(Event)


class Fold:
    """Counts of one application's events, and its workers as they were last heard."""

    def __init__(self, tally: Tally, workers: Mapping[str, Worker] | None = None) -> None:
        self.workers = dict(workers or {})
        self.lock = threading.Lock()
        self._tally = tally
        self._tasks: dict[str, _Task] = {}
        self._senders: set[str] = set()
        self._changed: set[str] = set()

    def message(self, data: bytes, now_s: float) -> int:
        """Count what a channel's message says. Return how many events it held.

        What can't be read is counted as ``odd``: an event queue is open to all that reach Redis.
        """
        try:
            found = _messages.decode(data)
            body = found.body
            raw = base64.b64decode(body) if found.properties.body_encoding else body.encode()
            try:
                events = _events.decode(raw)
            except msgspec.ValidationError:  # one of several: the others count
                events = self._readable(raw)
        except (msgspec.DecodeError, binascii.Error, UnicodeError):
            self._odd()
            return 0
        with self.lock:
            if isinstance(events, Event):
                self.event(events, now_s)
                return 1
            for event in events:
                self.event(event, now_s)
        return len(events)

    def event(self, event: Event, now_s: float) -> None:
        """Count one event; the lock is held."""
        kind = _COUNTED.get(event.type)
        if kind is not None:
            self._task(kind, event, now_s)
        elif event.type in ("worker-heartbeat", "worker-online", "worker-offline"):
            self._worker(event, now_s)

    def sent_s(self, task_id: str) -> float | None:
        """Return when a task was sent, if that was heard and it is not over."""
        task = self._tasks.get(task_id)
        return task.sent_s if task else None

    def changed(self) -> dict[str, Worker]:
        """Return the workers that changed since the last call."""
        with self.lock:
            changed, self._changed = self._changed, set()
            return {name: self.workers[name] for name in changed if name in self.workers}

    def strange(self) -> set[tuple[str, int]]:
        """Return name and process of the workers whose pool or queues are not known."""
        with self.lock:
            return {
                (name, each.pid)
                for name, each in self.workers.items()
                if not each.offline and (each.processes is None or not each.queues)
            }

    def forget(self, now_s: float) -> set[str]:
        """Forget workers that were not heard for long. Return their names."""
        with self.lock:
            gone = {name for name, worker in self.workers.items() if worker.forgotten(now_s)}
            for name in gone:
                del self.workers[name]
        return gone

    def pools(self, processes: Mapping[str, int], queues: Mapping[str, tuple[str, ...]]) -> None:
        """Take what workers said of their pools and queues."""
        with self.lock:
            for name in (processes.keys() | queues.keys()) & self.workers.keys():
                worker = self.workers[name]
                worker.processes = processes.get(name, worker.processes)
                worker.queues = queues.get(name, worker.queues)
                self._changed.add(name)

    def _task(self, kind: str, event: Event, now_s: float) -> None:
        tasks = self._tasks
        task = tasks.get(event.uuid)
        if kind in ("sent", "received"):
            task = self._learn(event, task, now_s if kind == "sent" else None)
        name, queue = (task.name, task.queue) if task else (UNKNOWN, DEFAULT_QUEUE)
        worker = event.hostname
        if kind == "sent":
            worker = self._sender(worker)
        elif kind == "started" and worker in self.workers:
            self._meet(worker, event.pid, now_s).heard += 1
        if kind in _OVER:
            tasks.pop(event.uuid, None)
        if name.startswith(_OWN_TASKS):
            return  # ours are counted where they run, and the broker may be the same
        if kind == "failed":
            said = _EXCEPTION.match(event.exception or "")
            self._tally.add(kind, name, worker, queue, said[1] if said else "UnknownException")
            return
        self._tally.add(kind, name, worker, queue)
        if kind == "succeeded" and event.runtime is not None:
            self._tally.runtime(name, worker, queue, event.runtime)

    def _learn(self, event: Event, known: _Task | None, sent_s: float | None) -> _Task:
        """Remember a task that is under way; ``task-sent`` may come after ``task-received``."""
        if known is None:
            if len(self._tasks) >= MOST_TASKS:
                del self._tasks[next(iter(self._tasks))]
            known = self._tasks[event.uuid] = _Task(
                event.name or UNKNOWN, event.queue or DEFAULT_QUEUE
            )
        elif event.queue:
            known.queue = event.queue
        if sent_s is not None:
            known.sent_s = sent_s
        return known

    def _sender(self, name: str) -> str:
        host = host_of(name)
        if host not in self._senders:
            if len(self._senders) >= MOST_SENDERS:
                return GENERIC
            self._senders.add(host)
        return host

    def _worker(self, event: Event, now_s: float) -> None:
        name = event.hostname
        full = name not in self.workers and len(self.workers) >= MOST_WORKERS
        if full or name.startswith(_OWN_WORKERS):
            return
        worker = self._meet(name, event.pid, now_s)
        worker.at_s = now_s
        worker.offline = event.type == "worker-offline"
        worker.every_s = event.freq or worker.every_s
        worker.active = 0 if worker.offline else event.active or 0
        if event.processed is not None and (more := worker.missed(event.processed)):
            self._tally.add("unseen", UNKNOWN, name, DEFAULT_QUEUE, by=more)

    def _meet(self, name: str, pid: int, now_s: float) -> Worker:
        """Return the record of a worker, a new one for a new process."""
        worker = self.workers.get(name)
        if worker is None or worker.pid != pid:
            # All that the successor of one we knew has done, it did while we should have heard.
            worker = self.workers[name] = Worker(
                pid=pid, at_s=now_s, base=None if worker is None else 0,
                queues=worker.queues if worker else (),
            )  # fmt: skip
        self._changed.add(name)
        return worker

    def _readable(self, raw: bytes) -> list[Event]:
        found = []
        for part in _parts.decode(raw):
            try:
                found.append(_one.decode(part))
            except msgspec.ValidationError:
                self._odd()
        return found

    def _odd(self) -> None:
        self._tally.add("odd", UNKNOWN, "", DEFAULT_QUEUE)


def host_of(worker: str) -> str:
    """Return the host in a worker's name.

    >>> host_of("celery@alpha"), host_of("alpha")
    ('alpha', 'alpha')
    """
    return worker.rpartition("@")[2]
