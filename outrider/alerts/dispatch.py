"""One run of telling people: take changes into groups, look at what is due, send what waits.

Safe to run by several workers at once, and to be killed anywhere: see ``outrider.alerts.outbox``.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from outrider.alerts import deadman, delivery, groups, inhibition, labels, outbox, routes, silences
from outrider.alerts.delivery import Courier, Outcome
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import redis

    from outrider.alerts.channels.base import Channel
    from outrider.clock import Clock
    from outrider.settings import Settings

# A change that was stored just now may be on its way into its group.
_SETTLED_AFTER_S = 120.0


def is_due(client: redis.Redis, settings: Settings, now_s: float) -> bool:
    """Tell whether a run would do anything; costs one round trip."""
    with client.pipeline(transaction=False) as pipe:
        pipe.hlen(keys.OUTBOX)
        pipe.zcount(keys.GROUPS, "-inf", now_s)
        for name in settings.notify.channels():
            pipe.zcount(keys.due(name), "-inf", now_s)
        pipe.exists(keys.PING)
        *counts, pinged = cast("list[int]", pipe.execute())
    return any(counts) or (settings.notify.heartbeat is not None and not pinged)


def run(
    client: redis.Redis,
    settings: Settings,
    clock: Clock,
    channels: Sequence[Channel],
    hosts: Iterable[str],
) -> Outcome:
    """Tell everybody of everything that is due now."""
    outbox.take(client, routes.of_settings(settings), clock.now())
    look(client, settings, clock, channels, hosts)
    with ThreadPoolExecutor(max(1, len(channels)), "outrider-alerts") as pool:
        # A channel that hangs must not keep the others waiting.
        ran = list(pool.map(lambda one: Courier(client, one, clock).run(), channels))
        deadman.ping(client, settings)
    return Outcome(sum(one.told for one in ran), sum(one.failed for one in ran))


def look(
    client: redis.Redis,
    settings: Settings,
    clock: Clock,
    channels: Sequence[Channel],
    hosts: Iterable[str],
) -> None:
    """Look at the groups that are due, and write their messages."""
    now_s = clock.now()
    due = groups.due(client, now_s)
    if not due:
        return
    every = {route.name: route for route in routes.of_settings(settings)}
    stored = silences.read(client, now_s)
    world = groups.World(
        every, every[routes.DEFAULT], {channel.name: channel for channel in channels},
        silences.Silenced(stored, settings, now_s),
        inhibition.Inhibited(inhibition.of_settings(settings), firing(client, hosts)), now_s,
    )  # fmt: skip
    for name in due:
        groups.tell(client, name, world)


def firing(client: redis.Redis, hosts: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the labels of every alert that fires, as it is stored."""
    for alert in _stored(client, hosts):
        if alert["state"] in outbox.ACTIVE:
            yield labels.of(alert)


def reconcile(client: redis.Redis, settings: Settings, hosts: Sequence[str], now_s: float) -> int:
    """Mend what the groups and the alerts' states disagree on; return how many were mended.

    They agree unless routes were changed, or a part of Redis was lost. An alert that fires without
    being in its group is put into the outbox again; a member whose alert is over gets its end; a
    member of a group that is no longer its own leaves it.
    """
    every = routes.of_settings(settings)
    outbox.take(client, every, now_s)
    active = {
        labels.key(alert): alert
        for alert in _stored(client, hosts)
        if alert["state"] in outbox.ACTIVE
    }
    mended = 0
    own: dict[str, set[str]] = {}
    for key, alert in active.items():
        found = labels.of(alert)
        own[key] = {route.group(found)[0] for route in routes.of(every, found)}
        for name in own[key]:
            if not client.hexists(keys.group(name, "members"), key):
                outbox.put(client, _change(alert, "firing", alert["since_s"]))
                mended += 1
    for member in cast("list[bytes]", client.zrange(keys.GROUPS, 0, -1)):
        group = member.decode()
        for key, change, _, _ in groups.members(client, group):
            if key in own and group not in own[key]:
                client.hdel(keys.group(group, "members"), key)
                mended += 1
            elif (
                key not in own
                and change["to"] in outbox.ACTIVE
                and change["at_s"] < now_s - _SETTLED_AFTER_S
            ):
                outbox.put(client, _change(change, "resolved", now_s))
                mended += 1
    delivery.forget(client, settings.notify.channels(), now_s)
    silences.expire(client, now_s)
    return mended


def _stored(client: redis.Redis, hosts: Iterable[str]) -> Iterator[dict[str, Any]]:
    for host in hosts:
        for field, text in client.hscan_iter(keys.alert_state(host), count=500):
            if not field.startswith(b"#"):
                yield json.loads(text)


def _change(alert: dict[str, Any], to: str, at_s: float) -> dict[str, Any]:
    identity = f"{labels.key(alert)}|mended|{to}|{at_s:.0f}"
    kept = ("rule", "instance", "host", "severity", "value", "summary", "labels")
    before = "pending" if to == "firing" else "firing"
    return {name: alert.get(name) for name in kept} | {
        "id": identity, "from": before, "to": to, "at_s": at_s, "tick": -1,
    }  # fmt: skip
