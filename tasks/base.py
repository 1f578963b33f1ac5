"""The manners all tasks share: arguments are checked, and poison is not swallowed twice.

A task that kills its worker is delivered again, since messages are acknowledged late. Without a
bound it would kill every worker in turn: after MOST_DELIVERIES it goes to a dead-letter list.
"""

from __future__ import annotations

import inspect
import json
import time
import typing
from typing import Any

import msgspec
from celery import Task
from celery.exceptions import Ignore
from celery.utils.log import get_task_logger

from outrider.errors import BadArgument
from outrider.store import keys
from outrider.tasks import context

MOST_DELIVERIES = 3
_COUNT_TTL_S = 3600
_MOST_DEAD = 1000

logger = get_task_logger(__name__)


class OutriderTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """Base of every Outrider task."""

    acks_late = True
    reject_on_worker_lost = True
    max_retries = 3

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run with checked arguments.

        Raises:
            BadArgument: an argument is unknown, missing, or of the wrong type; not retried.
        """
        return self.run(**checked(self.run, args, kwargs, self.name))

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Count deliveries of a message that came before, and stop at the bound."""
        if not (self.request.delivery_info or {}).get("redelivered"):
            return
        redis = context.current().redis
        count = redis.incr(keys.deliveries(task_id))
        redis.expire(keys.deliveries(task_id), _COUNT_TTL_S)
        if count < MOST_DELIVERIES:
            return
        dead = {
            "id": task_id,
            "task": self.name,
            "args": args,
            "kwargs": kwargs,
            "at_s": time.time(),
        }
        with redis.pipeline() as pipe:
            pipe.lpush(keys.DEAD, json.dumps(dead))
            pipe.ltrim(keys.DEAD, 0, _MOST_DEAD - 1)
            pipe.execute()
        logger.error("%s was delivered %d times; moved to the dead letters", self.name, count + 1)
        self.backend.mark_as_failure(
            task_id,
            BadArgument(f"{self.name} ended its worker {count} times; see `outrider doctor`."),
        )
        raise Ignore


def checked(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> dict[str, Any]:
    """Return the arguments by name, converted to what the function's annotations say.

    Raises:
        BadArgument: names the task, the argument, and what was expected.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(str(parameter) for parameter in signature.parameters.values())
        raise BadArgument(f"{name}: {error}; it takes ({takes}).") from None
    hints = typing.get_type_hints(function)
    for argument, value in bound.arguments.items():
        if argument not in hints:
            continue
        try:
            bound.arguments[argument] = msgspec.convert(value, hints[argument])
        except msgspec.ValidationError as error:
            raise BadArgument(f"{name}: {argument} = {value!r}: {error}.") from None
    return dict(bound.arguments)
