"""Resizes the pools of an application's Celery workers by their own remote control.

Only pools of processes can grow and shrink: a worker with another pool says so, and is left as it
is. Shrinking ends idle processes, or lets a busy one finish its task first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kombu.exceptions
import redis
from celery import Celery

from outrider.errors import OutriderError

if TYPE_CHECKING:
    from outrider.settings import CeleryAppSettings

# How many will answer is not known, so that this is always waited for; one alone answers at once.
ASK_S, ANSWER_S = 2.0, 15.0
_TRIES = 3


def resize(app: CeleryAppSettings, processes: int) -> dict[str, int]:
    """Share ``processes`` among the live workers; return how many each has now.

    Raises:
        OutriderError: no worker answers, or one can't be resized.
    """
    options = {"global_keyprefix": app.key_prefix} if app.key_prefix else {}
    with Celery(
        app.name, broker=app.broker.get_secret_value(), set_as_current=False,
        broker_transport_options=options,
    ) as client:  # fmt: skip
        try:
            return _resized(client, app, processes)
        except (redis.RedisError, kombu.exceptions.OperationalError, OSError) as error:
            raise OutriderError(f"the broker of {app.name} is away ({error}).") from None


def _resized(client: Celery, app: CeleryAppSettings, processes: int) -> dict[str, int]:
    sizes = _sizes(client)
    if not sizes:
        raise OutriderError(
            f"no worker of {app.name} answered, asked {_TRIES} times for {ASK_S:.0f} s."
        )
    shares = shared(processes, list(sizes))
    for worker, share in shares.items():
        order = "pool_grow" if share > sizes[worker] else "pool_shrink"
        if share == sizes[worker]:
            continue
        replies = client.control.broadcast(
            order, {"n": abs(share - sizes[worker])},
            destination=[worker], reply=True, limit=1, timeout=ANSWER_S,
        )  # fmt: skip
        for reply in replies or [{worker: {"error": "no answer"}}]:
            told = reply.get(worker, {})
            if "error" in told:
                raise OutriderError(f"{worker}: {order}: {told['error']}")
    return shares


def _sizes(client: Celery) -> dict[str, int]:
    """Return the processes of each worker. ``max-concurrency`` is what it began with."""
    for _ in range(_TRIES):
        stats: dict[str, Any] = client.control.inspect(timeout=ASK_S).stats() or {}
        if stats:
            return {
                worker: len(told["pool"].get("processes", ())) or told["pool"]["max-concurrency"]
                for worker, told in sorted(stats.items())
            }
    return {}


def shared(processes: int, workers: list[str]) -> dict[str, int]:
    """Return an even share for each worker, one at least.

    >>> shared(5, ["a", "b"]), shared(1, ["a", "b"])
    ({'a': 3, 'b': 2}, {'a': 1, 'b': 1})
    """
    each, more = divmod(max(processes, len(workers)), len(workers))
    return {worker: each + (place < more) for place, worker in enumerate(workers)}
