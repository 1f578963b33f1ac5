"""Celery: tasks that a bot sends, and tasks that its worker runs.

A worker's numbers are taken where its main process hands tasks to the pool and hears of their end:
it is the same with every pool, and a child of the pool is another process, of which only one may
speak for the bot. What tasks in a child send themselves is therefore not counted.

``celery.TASK`` is how long a task ran; ``.errors``, ``.retries`` and ``celery.errors.TYPE`` count;
``celery.TASK.sent`` counts what this process sent, and ``celery.queue_wait`` is how long a task
waited from its sending, or from its ETA, until the pool took it.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.exceptions import Ignore, Reject, Retry

from outrider.sdk.integrations.meter import Names, now

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from outrider.sdk.integrations.meter import Meter

MOST_TASKS = 40
MOST_ERRORS = 20
# Put into the headers of what we send; Celery tells nobody when a message was sent.
SENT_AT = "outrider_sent_at_s"


def attach(app: Celery, meter: Meter) -> None:
    """Measure an app: as producer from now on, as worker if its worker starts later."""
    tasks = Tasks(meter)
    send = app.send_task

    def send_task(name: str, *args: Any, **options: Any) -> Any:
        tasks.stamp(options)
        result = send(name, *args, **options)
        tasks.sent(name)
        return result

    class Pool(bootsteps.Step):
        """Made with the worker's consumer, when there is a pool and nothing runs in it yet."""

        def __init__(self, consumer: Any, **_options: Any) -> None:
            tasks.measure(consumer.pool)

    app.send_task = send_task  # type: ignore[method-assign]
    app.steps["consumer"].add(Pool)


class Tasks:
    """The tasks of one app."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._names = Names("celery", most=MOST_TASKS)
        self._errors = Names("celery.errors", most=MOST_ERRORS, ending=0)
        self.stamp = meter.guard(_stamp)
        self.sent = meter.guard(self._sent)
        self.measure = meter.guard(self._measure)
        self._accepted = meter.guard(self._waited)
        self._done = meter.guard(self._ran)
        self._lost = meter.guard(self._failed)

    def _sent(self, name: str) -> None:
        self._meter.count(f"{self._names(name)}.sent")

    def _measure(self, pool: Any) -> None:
        apply_async = pool.apply_async

        def measured(target: Any, args: Any = (), *more: Any, **options: Any) -> Any:
            self._listen(args, options)
            return apply_async(target, args, *more, **options)

        self._listen = self._meter.guard(self._listening)
        pool.apply_async = measured

    def _listening(self, args: Any, options: dict[str, Any]) -> None:
        """Hear of a task's beginning and end, before Celery does."""
        name, _id, request = args[:3]
        begun: list[float] = []
        for way, look in (
            ("accept_callback", lambda *_told: self._accepted(request, begun)),
            ("callback", lambda told: self._done(name, begun, *told)),
            ("error_callback", lambda told, *_more: self._lost(name, told.exception)),
        ):
            if options.get(way) is not None:
                options[way] = _both(look, options[way])

    def _waited(self, request: dict[str, Any], begun: list[float]) -> None:
        begun.append(now())
        due_s = due(request)
        if due_s is not None:
            self._meter.observe("celery.queue_wait", max(0.0, time.time() - due_s))

    def _ran(
        self, name: str, begun: list[float], failed: int, returned: Any, ran_s: float | None
    ) -> None:
        """Record a run. Celery times only those that succeed; others are timed from here."""
        if ran_s is None and begun:
            ran_s = now() - begun[0]
        if ran_s is not None:
            self._meter.observe(self._names(name), ran_s)
        if failed:
            self._failed(name, returned.exception)

    def _failed(self, name: str, error: Any) -> None:
        error = getattr(error, "exc", error) if type(error).__name__.startswith("Exc") else error
        if isinstance(error, Retry):
            self._meter.count(f"{self._names(name)}.retries")
        elif not isinstance(error, Ignore | Reject):
            self._meter.count(f"{self._names(name)}.errors")
            self._meter.count(self._errors(_type_of(error)))


def due(request: dict[str, Any]) -> float | None:
    """Return when a task could have begun, in Unix seconds; None when its sender did not say.

    >>> due({SENT_AT: 5.0}), due({SENT_AT: 5.0, "eta": "1970-01-01T00:01:00+00:00"}), due({})
    (5.0, 60.0, None)
    """
    sent_at_s = request.get(SENT_AT)
    if sent_at_s is None:
        return None
    eta = request.get("eta")
    if not eta:
        return float(sent_at_s)
    at = dt.datetime.fromisoformat(eta)
    at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return max(float(sent_at_s), at.timestamp())


def _stamp(options: dict[str, Any]) -> None:
    options["headers"] = {**(options.get("headers") or {}), SENT_AT: round(time.time(), 3)}


def _type_of(error: Any) -> str:
    """Return an error's type, also of one that could not be sent as it was."""
    return str(getattr(error, "exc_cls_name", type(error).__name__))


def _both(look: Callable[..., None], callback: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        look(*args)
        return callback(*args, **kwargs)

    return called
