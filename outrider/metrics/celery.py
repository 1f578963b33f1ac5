"""Celery's queues as they lie in Redis; nothing of Celery is imported.

A queue with priorities is several lists, one a priority step, and messages that a worker holds lie
in the hash ``unacked``: both count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")


def collect(client: redis.Redis, queues: Iterable[str]) -> dict[str, float]:
    """Return ``celery.queue.NAME.length`` for each queue, and ``celery.unacked``."""
    names = list(queues)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            for priority in PRIORITIES:
                pipe.llen(name + priority)
        pipe.hlen("unacked")
        *lengths, unacked = pipe.execute()
    step = len(PRIORITIES)
    values = {
        f"celery.queue.{name}.length": float(sum(lengths[place * step : (place + 1) * step]))
        for place, name in enumerate(names)
    }
    return values | {"celery.unacked": float(unacked)}
