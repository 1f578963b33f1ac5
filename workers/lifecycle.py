"""What a worker does besides its tasks: shows that it lives, keeps its messages and time limits.

**Visibility.** Redis has no connection-bound delivery: kombu gives a message to another worker when
its score in ``unacked_index`` is older than the visibility timeout. Celery's default of an hour
means that a killed worker's tasks rest for an hour; a short timeout means that long tasks run
twice. So the timeout is short, and a worker pushes out the score of what it still holds, as one
extends the visibility of an SQS message.

**Time limits.** Celery enforces them in its prefork pool only. A thread can't be killed, so a task
beyond its hard limit ends the whole worker: its messages are delivered again, the supervisor starts
a new worker, and ``tasks.base.MOST_DELIVERIES`` bounds how often that can happen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

import redis
from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state as worker_state

from outrider.metrics import celery_workers
from outrider.metrics.celery_counts import OWN
from outrider.store import keys
from outrider.tasks import context

EXTEND_EVERY_S = 2.0
DEADLINE_EVERY_S = 1.0

logger = get_logger(__name__)


class VisibilityStep(bootsteps.StartStopStep):
    """Extends the visibility of unacknowledged messages, and tells that this host lives."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Begin with the consumer, again after each reconnection."""
        self._beat(consumer)
        self._timer = consumer.timer.call_repeatedly(EXTEND_EVERY_S, self._beat, (consumer,))

    def stop(self, consumer: Any) -> None:
        """End with the consumer."""
        del consumer
        self._timer.cancel()

    def _beat(self, consumer: Any) -> None:
        # A lost connection is the consumer's to notice; the next beat finds the new one.
        with contextlib.suppress(redis.RedisError, OSError, AttributeError):
            channel = consumer.task_consumer.channel
            held = list(channel.qos._delivered)  # noqa: SLF001 - kombu has no public view of it
            host = context.current().settings.host
            with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                now = time.time()
                if held:
                    pipe.zadd(channel.unacked_index_key, dict.fromkeys(held, now), xx=True)
                pipe.zadd(keys.HOSTS, {host: now})
                pipe.hset(keys.celery(OWN, "workers"), consumer.hostname, record(consumer, now))
                pipe.execute()


def record(consumer: Any, now_s: float) -> str:
    """Return what this worker says of itself, as other applications' workers do by event."""
    return celery_workers.encode(
        celery_workers.Worker(
            pid=os.getpid(), at_s=now_s, every_s=EXTEND_EVERY_S,
            active=len(worker_state.active_requests),
            processes=int(consumer.controller.concurrency or 0),
            queues=tuple(sorted(queue.name for queue in consumer.task_consumer.queues)),
            processed=worker_state.all_total_count[0],
        )
    )  # fmt: skip


class DeadlineStep(bootsteps.StartStopStep):
    """Ends a worker of threads whose task is beyond its hard time limit."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Begin with the consumer."""
        self._timer = consumer.timer.call_repeatedly(DEADLINE_EVERY_S, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:
        """End with the consumer."""
        del consumer
        self._timer.cancel()

    def _look(self, consumer: Any) -> None:
        if "prefork" in type(consumer.pool).__module__:
            return
        for request in list(worker_state.active_requests):
            limit_s = overdue(request, time.time())
            if limit_s is not None:
                logger.critical(
                    "%s[%s] is beyond its limit of %s s; ending this worker, the task comes again",
                    request.name, request.id, limit_s,
                )  # fmt: skip
                os.kill(os.getpid(), signal.SIGKILL)


def overdue(request: Any, now_s: float) -> float | None:
    """Return the hard limit in seconds that a request is beyond, or None."""
    own, _soft = request.time_limits or (None, None)
    limit_s = own or request.task.time_limit
    started_s = request.time_start
    if not limit_s or not started_s:
        return None
    running_s = now_s - started_s if started_s > 1e9 else time.monotonic() - started_s  # noqa: PLR2004
    return float(limit_s) if running_s > limit_s else None
