"""How Celery is set up, and why. Every value that differs from Celery's default has its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu import Queue

from outrider.store import queues

if TYPE_CHECKING:
    from outrider.settings import Settings

# A message whose worker died is given to another after this. Workers push it out for messages they
# still hold (see lifecycle.VisibilityStep), so it can be short without running long tasks twice.
VISIBILITY_S = 10
RESULTS_KEPT_S = 3600
CONCURRENCY = 4


def celery_config(settings: Settings, redis_url: str) -> dict[str, Any]:
    """Return the Celery configuration for these settings."""
    return {
        "broker_url": redis_url,
        "result_backend": redis_url,
        # JSON only: pickle would let whoever can write to Redis run code in every worker.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "timezone": settings.timezone,
        "include": ["outrider.tasks"],
        # Nothing is lost with a worker: a message is acknowledged after the task, and comes again
        # when the worker is gone.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_S,
            # kombu looks for lost messages every interval x throttle seconds: 100 s by default.
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 2,
            "health_check_interval": 25,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "result_backend_transport_options": {"socket_timeout": 5, "socket_connect_timeout": 2},
        "result_expires": RESULTS_KEPT_S,
        "result_extended": True,
        "task_track_started": True,
        "task_queues": [Queue(name) for name in queues.of_worker(settings.host)],
        "task_default_queue": queues.ANALYSIS,
        "task_create_missing_queues": True,
        "task_routes": [Router(settings.host)],
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.1, "interval_max": 1},
        # Threads: collecting and talking to Redis wait, they do not compute; one process is a third
        # of the memory of a prefork pool. Time limits are kept by lifecycle.DeadlineStep.
        "worker_pool": "threads",
        "worker_concurrency": CONCURRENCY,
        "result_backend_thread_safe": True,
        "worker_soft_shutdown_timeout": 5.0,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Flower lives on events.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "event_queue_expires": 60,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_scheduler": "outrider.schedules.scheduler:LeasedScheduler",
        "beat_max_loop_interval": 1,
    }


class Router:
    """Sends our tasks to their queues, and leaves the user's own alone."""

    def __init__(self, host: str) -> None:
        self.host = host

    def route_for_task(
        self, task: str, args: Any = None, kwargs: dict[str, Any] | None = None
    ) -> dict[str, str] | None:
        """Return where a task goes; a ``host`` argument sends it to that host."""
        del args
        queue = queues.of_task(task, host=str((kwargs or {}).get("host") or self.host))
        return {"queue": queue} if queue else None

    def __call__(
        self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any
    ) -> dict[str, str] | None:
        """Answer Celery's router protocol."""
        del options, task
        return self.route_for_task(name, args, kwargs)
