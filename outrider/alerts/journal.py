"""Where alerts are kept in Redis: states, the history of changes, the outbox, who was told.

States and changes of a tick are written in one transaction, guarded by the tick: a redelivered or
late evaluation changes nothing. What must be told lies in the outbox until every channel was told.
"""

from __future__ import annotations

import json
from dataclasses import replace
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
_TOLD_TTL_S = 7 * 86_400


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
    now = {}
    for alert in alerts:
        stored = before.get(field := alert.key.encode())
        if stored and (reminded_s := _alert(stored).reminded_s) > alert.reminded_s:
            # A reminder may have been sent since the caller loaded its alerts.
            now[field] = _state(replace(alert, reminded_s=reminded_s))
        else:
            now[field] = _state(alert)
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


def remind(client: redis.Redis, host: str, alert: Alert, now_s: float) -> bool:
    """Put a firing alert into the outbox once more. Return False when it changed meanwhile."""
    key = keys.alert_state(host)
    identity = f"{host}|{alert.rule}|{alert.instance}|remind|{int(now_s)}"
    change = Transition(
        identity, alert.rule, alert.instance, host, alert.severity,
        "firing", "firing", now_s, -1, alert.value, alert.summary,
    )  # fmt: skip
    with client.pipeline(transaction=True) as pipe:
        pipe.watch(key)  # type: ignore[no-untyped-call]
        stored = cast("bytes | None", pipe.hget(key, alert.key))
        now = _alert(stored) if stored else None
        if now is None or now.state != "firing" or now.reminded_s > alert.reminded_s:
            return False
        pipe.multi()
        pipe.hset(keys.OUTBOX, change.id, json.dumps(change.plain()))
        pipe.hset(key, alert.key, _state(replace(now, reminded_s=now_s)))
        try:
            pipe.execute()
        except redis.WatchError:
            return False
    return True


def outbox(client: redis.Redis) -> list[dict[str, Any]]:
    """Return what is still to be told, oldest first."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.OUTBOX))
    return sorted((json.loads(text) for text in stored.values()), key=lambda change: change["at_s"])


def is_waiting(client: redis.Redis) -> bool:
    """Tell whether there is a change that not every channel was told of."""
    return bool(client.hlen(keys.OUTBOX))


def claim(client: redis.Redis, change_id: str, channel: str) -> bool:
    """Take one delivery for half a minute. False: it is done, or another worker is at it."""
    if client.sismember(keys.told(change_id), channel):
        return False
    return bool(client.set(f"{keys.told(change_id)}:{channel}", "1", nx=True, ex=30))


def told(
    client: redis.Redis,
    change: dict[str, Any],
    channel: str,
    *,
    result: str,
    done: bool,
    at_s: float,
) -> None:
    """Note the result of a delivery; ``done`` means that it needs no other try."""
    entry = {"at_s": at_s, "channel": channel, "result": result}
    entry |= {name: change[name] for name in ("id", "rule", "instance", "host", "to", "severity")}
    with client.pipeline(transaction=True) as pipe:
        pipe.lpush(keys.NOTIFICATIONS, json.dumps(entry))
        pipe.ltrim(keys.NOTIFICATIONS, 0, KEPT - 1)
        if done:
            pipe.sadd(keys.told(change["id"]), channel)
            pipe.expire(keys.told(change["id"]), _TOLD_TTL_S)
        pipe.delete(f"{keys.told(change['id'])}:{channel}")
        pipe.execute()


def settle(client: redis.Redis, change_id: str, channels: set[str]) -> bool:
    """Take a change out of the outbox once every channel was told. Tell whether it is out."""
    done = {name.decode() for name in cast("set[bytes]", client.smembers(keys.told(change_id)))}
    if channels <= done:
        client.hdel(keys.OUTBOX, change_id)
        return True
    return False


def active(client: redis.Redis, host: str) -> list[Alert]:
    """Return the alerts of a host that are not inactive."""
    return [alert for alert in load(client, host)[1].values() if alert.state != "inactive"]


def history(client: redis.Redis, most: int = 100) -> list[dict[str, Any]]:
    """Return the newest changes of state, newest first."""
    return [
        json.loads(text) for text in cast("list[bytes]", client.lrange(keys.HISTORY, 0, most - 1))
    ]


def notifications(client: redis.Redis, most: int = 100) -> list[dict[str, Any]]:
    """Return who was told lately, newest first."""
    found = cast("list[bytes]", client.lrange(keys.NOTIFICATIONS, 0, most - 1))
    return [json.loads(text) for text in found]


def _stored(client: redis.Redis, host: str) -> tuple[int, dict[bytes, bytes]]:
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.alert_state(host)))
    return int(stored.pop(_TICK_FIELD.encode(), b"-1")), stored


def _state(alert: Alert) -> bytes:
    return msgspec.json.encode(alert)


_alert = msgspec.json.Decoder(Alert).decode
