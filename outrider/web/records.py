"""What the other parts leave in Redis, read as typed records, fit to be shown.

It was written by other processes, maybe of another version, and carries names and error texts from
outside. So it is checked here, once: control characters go, lengths are bounded, and what can't be
read is counted and left out rather than breaking the page.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

T = TypeVar("T")

LONGEST_TEXT = 400
MOST_TRANSITIONS = 60
MOST_NOTIFICATIONS = 120
MOST_ACTIONS = 30
_LARGEST_RECORD = 1 << 20
# Controls would move a terminal's cursor, direction overrides would show a name backwards, and half
# a surrogate pair can't be sent at all.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)


class BotWord(msgspec.Struct):
    """The supervisor's word on one bot."""

    name: str
    state: str = "unknown"
    bot: str = ""
    pid: int | None = None
    since_s: float | None = None
    restarts: float | None = None
    crashes: float | None = None
    reason: str | None = None


class Anomaly(msgspec.Struct):
    """A series outside its band."""

    series: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    score: float | None = None
    since_s: float | None = None


class Bottleneck(msgspec.Struct):
    """The resource that holds a host up, and why."""

    resource: str
    used_ratio: float | None = None
    cause: str | None = None
    evidence: list[str] = []


class Recommendation(msgspec.Struct):
    """What the analysis would do."""

    text: str
    task: str | None = None


class Report(msgspec.Struct):
    """The newest analysis of a host."""

    state: str = "unknown"
    verdict: str = ""
    at_s: float | None = None
    anomalies: list[Anomaly] = []
    bottleneck: Bottleneck | None = None
    recommendations: list[Recommendation] = []


class Alert(msgspec.Struct):
    """One alert as it stands."""

    rule: str
    instance: str = ""
    host: str = ""
    severity: str = "warning"
    state: str = "inactive"
    since_s: float | None = None
    value: float | None = None
    summary: str | None = None


class Ack(msgspec.Struct):
    """Somebody has an alert, until it clears or for a time."""

    author: str
    kind: str = "ack"
    comment: str = ""
    at_s: float | None = None
    until_s: float | None = None


class Transition(msgspec.Struct, rename={"was": "from"}):
    """One change of an alert's state."""

    rule: str
    at_s: float
    to: str
    was: str = ""
    id: str | int | None = None
    instance: str = ""
    host: str = ""
    severity: str = "warning"
    summary: str | None = None


class Notification(msgspec.Struct):
    """Who was told of a transition, and how that ended."""

    at_s: float
    channel: str
    result: str = ""
    id: str | int | None = None
    ids: list[str] = []


class Action(msgspec.Struct):
    """What somebody did to a bot."""

    at_s: float
    what: str
    who: str = ""
    bot: str | None = None
    why: str | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """Everything but the series. ``damaged`` counts the records that could not be read."""

    heartbeats: dict[str, float] = field(default_factory=dict)
    bots: dict[str, list[BotWord]] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    acks: dict[str, Ack] = field(default_factory=dict)
    damaged: int = 0


def heartbeats(client: redis.Redis) -> dict[str, float]:
    """Return ``host -> time of its last heartbeat``."""
    found = cast("Any", client.zrange(keys.HOSTS, 0, -1, withscores=True))
    return {host.decode("utf-8", "replace"): float(at_s) for host, at_s in found}


def read(client: redis.Redis, hosts: Sequence[str], beats: dict[str, float]) -> Records:
    """Return the records of these hosts and of the fleet, in one round trip."""
    places = [*hosts, keys.FLEET]
    with client.pipeline(transaction=False) as pipe:
        pipe.lrange(keys.HISTORY, 0, MOST_TRANSITIONS - 1)
        pipe.lrange(keys.NOTIFICATIONS, 0, MOST_NOTIFICATIONS - 1)
        pipe.lrange(keys.ACTIONS, 0, MOST_ACTIONS - 1)
        pipe.hgetall(keys.ACKS)
        for host in places:
            pipe.get(keys.bots(host))
            pipe.get(keys.report(host))
            pipe.hgetall(keys.alert_state(host))
        history, told, actions, acks, *rest = cast("Any", pipe.execute())
    reader = _Reader()
    bots = {
        host: reader.one(raw, list[BotWord]) for host, raw in zip(places, rest[0::3], strict=True)
    }
    reports = {host: reader.one(raw, Report) for host, raw in zip(places, rest[1::3], strict=True)}
    return Records(
        heartbeats=beats,
        bots={host: words for host, words in bots.items() if words},
        reports={host: report for host, report in reports.items() if report},
        alerts=[alert for held in rest[2::3] for alert in reader.many(_alerts_in(held), Alert)],
        transitions=reader.many(history, Transition),
        notifications=reader.many(told, Notification),
        actions=reader.many(actions, Action),
        acks={
            alert.decode("utf-8", "replace"): ack
            for alert, raw in acks.items()
            if (ack := reader.one(raw, Ack))
        },
        damaged=reader.damaged,
    )


def clean(text: str) -> str:
    """Return a text from outside without what could move a cursor, and of bounded length.

    >>> clean("canary" + chr(27) + "[31m" + chr(10) + "# HELP")
    'canary [31m # HELP'
    """
    text = _UNSHOWN.sub(" ", text[: LONGEST_TEXT + 1])
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


class _Reader:
    """Decodes records and counts those that are damaged."""

    def __init__(self) -> None:
        self.damaged = 0

    def one(self, raw: bytes | None, kind: type[T]) -> T | None:
        if raw is None:
            return None
        try:
            if len(raw) <= _LARGEST_RECORD:
                return msgspec.convert(_cleaned(json.loads(raw)), kind)
        except (ValueError, RecursionError):
            pass  # counted like one that is too long
        self.damaged += 1
        return None

    def many(self, raws: Iterable[bytes], kind: type[T]) -> list[T]:
        return [record for raw in raws if (record := self.one(raw, kind)) is not None]


def _alerts_in(held: dict[bytes, bytes]) -> list[bytes]:
    """Leave out what is no alert: the last tick is kept beside them, as ``#tick``."""
    return [raw for field, raw in held.items() if not field.startswith(b"#")]


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    return value
