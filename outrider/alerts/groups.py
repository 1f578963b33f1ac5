"""Groups of alerts in Redis: looked at when due, and told of as one message a channel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from outrider.alerts import acknowledgement, deciding, labels, message
from outrider.alerts.deciding import Tally
from outrider.alerts.message import Message
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import redis

    from outrider.alerts.channels.base import Channel
    from outrider.alerts.deciding import Decision
    from outrider.alerts.inhibition import Inhibited
    from outrider.alerts.routes import Route
    from outrider.alerts.silences import Silenced

_AT_ONCE = 500
_TRIES = 5
_SHORTEST_MEMORY_S = 60
_TELL = resources.files("outrider.alerts").joinpath("tell.lua").read_text("utf-8")


@dataclass(frozen=True)
class World:
    """What a look needs to know besides the group itself."""

    routes: Mapping[str, Route]
    fallback: Route
    channels: Mapping[str, Channel]
    silenced: Silenced
    inhibited: Inhibited
    now_s: float

    def hides(self, change: dict[str, Any]) -> bool:
        """Tell whether an alert is silenced or hidden by another."""
        found = labels.of(change)
        return bool(self.silenced.by(found) or self.inhibited.by(found))


def due(client: redis.Redis, now_s: float, most: int = 1000) -> list[str]:
    """Return the groups that are to be looked at."""
    found = cast("list[bytes]", client.zrangebyscore(keys.GROUPS, "-inf", now_s, 0, most))
    return [name.decode() for name in found]


def wake(client: redis.Redis, now_s: float) -> None:
    """Have every group looked at soon: somebody changed what is hidden or acknowledged."""
    every = cast("list[bytes]", client.zrange(keys.GROUPS, 0, -1))
    if every:
        client.zadd(keys.GROUPS, dict.fromkeys(every, now_s), lt=True)


def tell(client: redis.Redis, name: str, world: World) -> list[str]:
    """Look at a group and write its messages; return the channels that have one now.

    A group that changes meanwhile is looked at anew; when it never holds still, by the next run.
    """
    for _ in range(_TRIES):
        head = cast("dict[bytes, bytes]", client.hgetall(keys.group(name)))
        if not head:
            client.zrem(keys.GROUPS, name)
            return []
        route = world.routes.get(head[b"route"].decode(), world.fallback)
        most = max((channel.most_alerts for channel in world.channels.values()), default=0)
        tally = Tally(most)
        missed = cast("set[bytes]", client.smembers(keys.group(name, "missed")))
        for key, change, told, ack in members(client, name):
            fate = deciding.judge(
                change, told=told, ack=ack, hidden=world.hides(change), now_s=world.now_s,
                missed=key.encode() in missed,
            )  # fmt: skip
            tally.add(key, change, fate, ack, world.now_s)
        last_s = float(head[b"last_s"]) if b"last_s" in head else None
        decision = deciding.decide(
            tally, route, last_s=last_s, level=int(head.get(b"level", b"0")), now_s=world.now_s
        )
        channels = _recipients(decision, route, world)
        version, shared = head.get(b"version", b"").decode(), json.loads(head[b"labels"])
        look = _Look(name, version, shared, route, tally, decision, world.now_s)
        if _write(client, look, channels):
            return [channel.name for channel in channels]
    return []


def members(
    client: redis.Redis, name: str
) -> Iterator[tuple[str, dict[str, Any], bool, acknowledgement.Acknowledgement | None]]:
    """Yield a group's alerts: key, newest change, whether people know, who acknowledged."""
    cursor, seen = 0, set()
    while True:
        cursor, found = cast(
            "Any", client.hscan(keys.group(name, "members"), cursor, count=_AT_ONCE)
        )
        # While a hash grows, a scan may show a field twice.
        batch = {key.decode(): text for key, text in found.items() if key not in seen}
        seen |= set(found)
        if batch:
            told = cast("list[int]", client.smismember(keys.group(name, "told"), list(batch)))
            acks = acknowledgement.of(client, batch)
            for (key, text), known in zip(batch.items(), told, strict=True):
                yield key, json.loads(text.partition(b" ")[2]), bool(known), acks.get(key)
        if not cursor:
            return


def _recipients(decision: Decision, route: Route, world: World) -> list[Channel]:
    if decision.kind is None:
        return []
    named = (world.channels.get(name) for name in route.recipients(decision.level))
    return [
        channel
        for channel in named
        if channel is not None and (channel.is_sink or not decision.sinks_only)
    ]


@dataclass(frozen=True)
class _Look:
    """One look at a group: what it was, and what was decided."""

    name: str
    version: str
    shared: dict[str, str]
    route: Route
    tally: Tally
    decision: Decision
    now_s: float


def _write(client: redis.Redis, look: _Look, channels: list[Channel]) -> bool:
    tally, decision = look.tally, look.decision
    at_s = look.route.not_before_s(decision.severity, look.now_s)
    messages = []
    for channel in channels:
        waits = keys.messages(channel.name)
        old = cast("bytes | None", client.hget(waits, look.name))
        made = _message(look, channel, at_s)
        made = message.follow(message.load(old) if old else None, made, channel.most_alerts)
        messages.append(
            {
                "waits": waits, "due": keys.due(channel.name), "text": made.dump(), "at_s": at_s,
                "expected": old.decode() if old else "",
            }
        )  # fmt: skip
    noted = decision.kind is not None and not decision.sinks_only
    replaces = any(one["expected"] for one in messages)
    wrote = {
        "version": look.version, "messages": messages, "level": decision.kept,
        "last_s": repr(look.now_s) if decision.kind else "",
        "told": tally.told if noted else [], "missed": tally.hidden if replaces else [],
        "ended": tally.over if noted or not tally.of("ended") else [],
        "unacknowledged": tally.run_out if noted else [], "next_s": decision.next_s,
        "kept_s": int(max(_SHORTEST_MEMORY_S, look.route.group_interval_s)),
    }  # fmt: skip
    asked = [
        keys.group(look.name), keys.group(look.name, "members"), keys.group(look.name, "told"),
        keys.GROUPS, keys.ACKS, keys.group(look.name, "missed"),
    ]  # fmt: skip
    return bool(client.register_script(_TELL)(keys=asked, args=[look.name, json.dumps(wrote)]))


def _message(look: _Look, channel: Channel, at_s: float) -> Message:
    tally, decision, most = look.tally, look.decision, channel.most_alerts
    fires = [change for fate in ("new", "still", "acked") for change in tally.listed.get(fate, [])]
    # Ends are shown beside what fires, not crowded out by it.
    ended = tally.listed.get("ended", [])[: max(most - len(fires), most // 4)]
    fires = fires[: most - len(ended)]
    return Message(
        id=message.digest(look.name, look.version, channel.name), kind=str(decision.kind),
        group=look.name, route=look.route.name, labels=look.shared, severity=decision.severity,
        at_s=look.now_s, firing=tally.of("new", "still", "acked"), resolved=tally.of("ended"),
        alerts=[message.line(change) for change in (*fires, *ended)],
        ended=[message.line(change) for change in ended], version=int(look.version or 0),
        level=decision.level if decision.kind == "escalation" else 0, held=at_s > look.now_s,
    )  # fmt: skip
