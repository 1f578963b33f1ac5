"""Where alerts are kept in Redis: their states, and the history of changes.

States and changes of a tick are written in one transaction, guarded by the tick: a redelivered or
late evaluation changes nothing. What people must be told of goes into the outbox in the same
transaction; from there ``outrider.alerts.outbox`` takes it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import msgspec
import redis

from outrider.alerts import outbox
from outrider.alerts.state import Alert, Transition
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 10_000
_TICK_FIELD = "#tick"


def load(client: redis.Redis, host: str) -> tuple[int, dict[str, Alert]]:
    """Return the last tick that was evaluated (-1: none), and the alerts that are not inactive."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.alert_state(host)))
    tick = int(stored.pop(_TICK_FIELD.encode(), b"-1"))
    return tick, {alert.key: alert for alert in map(_alert, stored.values())}


def commit(
    client: redis.Redis,
    host: str,
    tick: int,
    alerts: Iterable[Alert],
    changes: Iterable[Transition],
) -> bool:
    """Keep the outcome of a tick. Return False, and change nothing, when it is not the newest."""
    key = keys.alert_state(host)
    with client.pipeline(transaction=True) as pipe:
        try:
            pipe.watch(key)  # type: ignore[no-untyped-call]
            last_tick, _ = load(cast("redis.Redis", pipe), host)
            if last_tick >= tick:
                return False
            pipe.multi()
            pipe.delete(key)
            pipe.hset(key, _TICK_FIELD, str(tick))
            for alert in alerts:
                pipe.hset(key, alert.key, _state(alert))
            for change in changes:
                text = json.dumps(change.plain())
                pipe.lpush(keys.HISTORY, text)
                if outbox.is_news(change.before, change.to):
                    pipe.hset(keys.OUTBOX, change.id, text)
            pipe.ltrim(keys.HISTORY, 0, KEPT - 1)
            pipe.execute()
        except redis.WatchError:  # another worker evaluates the same tick: its outcome is ours
            return False
    return True


def active(client: redis.Redis, host: str) -> list[Alert]:
    """Return the alerts of a host that are pending or firing."""
    return list(load(client, host)[1].values())


def history(client: redis.Redis, most: int = 100) -> list[dict[str, Any]]:
    """Return the newest changes of state, newest first."""
    return [
        json.loads(text) for text in cast("list[bytes]", client.lrange(keys.HISTORY, 0, most - 1))
    ]


def _state(alert: Alert) -> str:
    return json.dumps(asdict(alert))


def _alert(state: bytes) -> Alert:
    return msgspec.convert(json.loads(state), Alert)
