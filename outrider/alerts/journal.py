"""Where alerts are kept in Redis: their states, and the history of changes.

States and changes of a tick are written in one transaction, guarded by the tick: a redelivered or
late evaluation changes nothing. What people must be told of goes into the outbox in the same
transaction; from there ``outrider.alerts.outbox`` takes it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import msgspec
import redis

from outrider.alerts.state import Alert, Transition
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.client import Pipeline

KEPT = 10_000
_TICK_FIELD = "#tick"


def load(client: redis.Redis, host: str) -> tuple[int, dict[str, Alert]]:
    """Return the last tick that was evaluated (-1: none), and the alerts that are remembered."""
    tick, stored = _stored(client, host)
    return tick, {alert.key: alert for alert in map(_alert, stored.values())}


def commit(
    client: redis.Redis,
    host: str,
    tick: int,
    alerts: Iterable[Alert],
    changes: Iterable[Transition],
    *,
    after_tick: int | None = None,
) -> bool:
    """Keep the outcome of a tick. Return False, and change nothing, when it is not the newest.

    ``after_tick`` is the tick whose alerts the outcome was made of: when another outcome was kept
    in between, this one is void.
    """
    key = keys.alert_state(host)
    with client.pipeline(transaction=True) as pipe:
        try:
            pipe.watch(key)  # type: ignore[no-untyped-call]
            last_tick, before = _stored(cast("redis.Redis", pipe), host)
            if last_tick >= tick or after_tick not in (None, last_tick):
                return False
            pipe.multi()
            pipe.hset(key, _TICK_FIELD, str(tick))
            _keep_alerts(pipe, key, before, alerts)
            _keep_changes(pipe, list(changes))
            pipe.execute()
        except redis.WatchError:  # another worker evaluates the same tick: its outcome is ours
            return False
    return True


def _keep_alerts(
    pipe: Pipeline, key: str, before: dict[bytes, bytes], alerts: Iterable[Alert]
) -> None:
    """Write the alerts that differ from what is stored, and remove those that are gone."""
    now = {alert.key.encode(): _state(alert) for alert in alerts}
    if gone := before.keys() - now.keys():
        pipe.hdel(key, *gone)
    fresh = {field: state for field, state in now.items() if before.get(field) != state}
    if fresh:
        pipe.hset(key, mapping=cast("Any", fresh))


def _keep_changes(pipe: Pipeline, changes: list[Transition]) -> None:
    texts = [(change, json.dumps(change.plain())) for change in changes]
    if texts:
        pipe.lpush(keys.HISTORY, *(text for _, text in texts[-KEPT:]))
        pipe.ltrim(keys.HISTORY, 0, KEPT - 1)
    news = {change.id: text for change, text in texts if change.is_news}
    if news:
        pipe.hset(keys.OUTBOX, mapping=cast("Any", news))


def active(client: redis.Redis, host: str) -> list[Alert]:
    """Return the alerts of a host that are not inactive."""
    return [alert for alert in load(client, host)[1].values() if alert.state != "inactive"]


def history(client: redis.Redis, most: int = 100) -> list[dict[str, Any]]:
    """Return the newest changes of state, newest first."""
    return [
        json.loads(text) for text in cast("list[bytes]", client.lrange(keys.HISTORY, 0, most - 1))
    ]


def _stored(client: redis.Redis, host: str) -> tuple[int, dict[bytes, bytes]]:
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.alert_state(host)))
    return int(stored.pop(_TICK_FIELD.encode(), b"-1")), stored


def _state(alert: Alert) -> bytes:
    return msgspec.json.encode(alert)


_alert = msgspec.json.Decoder(Alert).decode
