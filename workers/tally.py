"""Counts the tasks of our own application where they run, by Celery's signals: none is lost.

Events go to whoever listens; signals are called in the process itself. What they tell is tallied
and added to the counts in Redis once a second, when there is something, and at the end. A process
that is killed takes at most that second with it; that it was is counted (``unclean``).

The same signals stamp what this process sends with the time, so that the age of a queue is exact.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import redis
from celery import signals
from celery.utils.log import get_logger

from outrider.clock import SYSTEM, Clock, tick_at
from outrider.metrics.celery_counts import OWN, Ledger, Tally
from outrider.metrics.celery_events import DEFAULT_QUEUE, UNKNOWN
from outrider.metrics.celery_queues import SENT_HEADER
from outrider.store import connection, keys
from outrider.tasks import context

if TYPE_CHECKING:
    from collections.abc import Callable

FLUSH_EVERY_S = 1.0
# Tasks under way whose start is remembered; a worker runs far fewer at once.
_MOST_RUNNING = 10_000
_OPEN = keys.celery(OWN, "open")

logger = get_logger(__name__)


class Counting:
    """What signals do in one process. Built once; :meth:`begin` connects it."""

    def __init__(
        self,
        connect: Callable[[], redis.Redis],
        *,
        worker: str,
        interval_s: float,
        clock: Clock = SYSTEM,
    ) -> None:
        self.tally = Tally()
        self._connect, self._worker, self._interval_s = connect, worker, interval_s
        self._clock = clock
        self._redis: redis.Redis | None = None
        self._ledger: Ledger | None = None
        self._flushing = threading.Lock()
        self._running: dict[str, float] = {}
        self._pid = 0
        self._ended = threading.Event()

    def begin(self) -> None:
        """Connect to the signals, and flush from now on. Safe to repeat."""
        for signal, receiver in self._receivers():
            signal.connect(receiver, weak=False, dispatch_uid=f"outrider.tally.{id(self)}")
        self._here()
        atexit.register(self.flush)

    def mark(self) -> None:
        """Note that this process counts; count its predecessor if that was killed."""
        with contextlib.suppress(redis.RedisError):
            if self._client().hset(_OPEN, self._worker, os.getpid()) == 0:
                self.tally.add("unclean", UNKNOWN, self._worker, DEFAULT_QUEUE)

    def end(self) -> None:
        """Flush for the last time."""
        for signal, receiver in self._receivers():
            signal.disconnect(receiver, dispatch_uid=f"outrider.tally.{id(self)}")
        self._ended.set()
        self.flush()
        atexit.unregister(self.flush)
        with contextlib.suppress(redis.RedisError):
            if not self._ledger or not self._ledger.waits:
                self._client().hdel(_OPEN, self._worker)

    def flush(self, **_: Any) -> None:
        """Add what was counted to Redis; what can't be added now waits for the next time."""
        if not self._flushing.acquire(timeout=5):
            return
        try:
            if self._ledger is None:
                self._ledger = Ledger(self._client(), OWN)
            now_s = self._clock.now()
            self._ledger.flush(self.tally, now_s, tick_at(now_s, self._interval_s))
        except redis.RedisError as error:
            logger.debug("counts of tasks wait: %s", error)
        finally:
            self._flushing.release()

    def _client(self) -> redis.Redis:
        if self._redis is None:
            self._redis = self._connect()
        return self._redis

    def _receivers(self) -> list[tuple[Any, Any]]:
        return [
            (signals.before_task_publish, self._stamp),
            (signals.after_task_publish, self._sent),
            (signals.task_received, self._received),
            (signals.task_prerun, self._started),
            (signals.task_postrun, self._ended_task),
            (signals.task_failure, self._failed),
            (signals.task_retry, self._retried),
            (signals.task_revoked, self._revoked),
            (signals.worker_process_shutdown, self.flush),
            (signals.worker_shutdown, self.flush),
        ]

    def _here(self) -> None:
        """See that this process flushes; a forked one begins with nothing, and its own thread."""
        if self._pid == os.getpid():
            return
        forked, self._pid = self._pid != 0, os.getpid()
        if forked:
            self.tally.begin_anew()
            self._redis, self._ledger, self._flushing = None, None, threading.Lock()
        threading.Thread(target=self._keep_flushing, name="outrider-tally", daemon=True).start()

    def _keep_flushing(self) -> None:
        while not self._ended.wait(FLUSH_EVERY_S):
            self.flush()

    def _count(self, kind: str, task: str, queue: str, exception: str = "") -> None:
        self._here()
        self.tally.add(kind, task, self._worker, queue, exception)

    def _stamp(self, headers: Any = None, **_: Any) -> None:
        if isinstance(headers, dict):
            headers[SENT_HEADER] = round(time.time(), 3)

    def _sent(self, sender: Any = None, routing_key: str | None = None, **_: Any) -> None:
        self._count("sent", str(sender), routing_key or DEFAULT_QUEUE)

    def _received(self, request: Any = None, **_: Any) -> None:
        self._count("received", request.name, _queue(request))

    def _started(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        self._count("started", task.name, _queue(task.request))
        if len(self._running) < _MOST_RUNNING:
            self._running[task_id] = time.perf_counter()

    def _ended_task(
        self, task_id: str = "", task: Any = None, state: str | None = None, **_: Any
    ) -> None:
        began_s = self._running.pop(task_id, None)
        if state == "SUCCESS":
            queue = _queue(task.request)
            self._count("succeeded", task.name, queue)
            if began_s is not None:
                self.tally.runtime(task.name, self._worker, queue, time.perf_counter() - began_s)
        elif state == "REJECTED":
            self._count("rejected", task.name, _queue(task.request))

    def _failed(self, sender: Any = None, exception: Any = None, **_: Any) -> None:
        kind = type(exception).__name__ if exception is not None else "UnknownException"
        self._count("failed", _name(sender), _queue(getattr(sender, "request", None)), kind)

    def _retried(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        self._count("retried", _name(sender), _queue(request))

    def _revoked(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        self._count("revoked", _name(sender), _queue(request))


def count_sent() -> None:
    """Count what beat sends, from this process, until it ends."""
    ctx = context.current()
    Counting(
        lambda: connection.connect(ctx.redis_url),
        worker=f"beat@{ctx.settings.host}", interval_s=ctx.settings.interval_s,
    ).begin()  # fmt: skip


def _name(task: Any) -> str:
    return str(getattr(task, "name", None) or UNKNOWN)


def _queue(request: Any) -> str:
    """Return the queue that a message came from; on Redis it is called as its routing key."""
    with contextlib.suppress(AttributeError, TypeError):
        return str(request.delivery_info["routing_key"] or DEFAULT_QUEUE)
    return DEFAULT_QUEUE
