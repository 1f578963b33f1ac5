"""A message: what one channel is to tell of one group of alerts, as it is stored until it is told.

It counts all alerts and lists some: a storm of 10,000 is one message of bounded size. A message
that still waits when there is news of its group is replaced by a newer one, which carries on what
the older one had to tell: so a channel that was away for an hour gets the state of things, not an
hour of messages.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

READABLE = 20
RANK = {"info": 0, "warning": 1, "critical": 2}
# Of an alert, what a message keeps.
_FIELDS = (
    "id", "rule", "instance", "host", "severity", "from", "to", "at_s", "value", "summary", "crash",
)  # fmt: skip
_LONGEST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """``alerts`` lists those that fire, newest first, then those that ended.

    ``kind`` is ``news``, ``reminder``, ``escalation``, ``digest`` or ``test``. ``id`` stays the
    same however often a message is sent. ``labels`` are those that all its alerts share.
    """

    id: str
    kind: str
    group: str
    route: str
    labels: dict[str, str]
    severity: str
    at_s: float
    firing: int
    resolved: int
    alerts: list[dict[str, Any]]
    ended: list[dict[str, Any]] = field(default_factory=list)
    version: int = 0
    level: int = 0
    tries: int = 0
    held: bool = False

    @property
    def unlisted(self) -> int:
        """How many alerts it counts without listing them."""
        return max(0, self.firing + self.resolved - len(self.alerts))

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))


def load(text: str | bytes) -> Message:
    """Return the message that was dumped."""
    return msgspec.convert(json.loads(text), Message)


def line(change: dict[str, Any]) -> dict[str, Any]:
    """Return what a message keeps of a change; endless names are cut."""
    kept = {name: change.get(name) for name in _FIELDS if name != "crash" or name in change}
    return {
        name: value[:_LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in kept.items()
    }


def worst(severities: Sequence[str]) -> str:
    """Return the gravest severity; ``info`` of none."""
    return max(severities, key=lambda name: RANK.get(name, 1), default="info")


def follow(old: Message | None, new: Message, most: int) -> Message:
    """Return the new message with what the old one, which was never told, had to tell besides.

    What fires is in the new one anyway; of what ended, the older ends are added.
    """
    if old is None:
        return new
    named = {_name(alert) for alert in new.alerts}
    older = [alert for alert in old.ended if _name(alert) not in named]
    again = sum(_name(alert) in named for alert in old.ended)
    ended = [*new.ended, *older][:most]
    fires = new.alerts[: len(new.alerts) - len(new.ended)]
    return replace(
        new,
        alerts=[*fires, *ended][: max(most, len(fires))],
        ended=ended,
        resolved=new.resolved + old.resolved - again,
        severity=worst([old.severity, new.severity]),
        held=old.held and new.held,
        kind=old.kind if new.kind == "news" and old.kind == "escalation" else new.kind,
        level=max(old.level, new.level),
    )


def combined(messages: Sequence[Message], at_s: float) -> Message:
    """Return one message in the place of many."""
    first = messages[0]
    if len(messages) == 1:
        return first
    by_severity = sorted(messages, key=lambda one: -RANK.get(one.severity, 1))
    listed = [one.alerts[place] for place in range(READABLE) for one in by_severity
              if place < len(one.alerts)]  # fmt: skip
    shared = {
        name: value
        for name, value in first.labels.items()
        if all(one.labels.get(name) == value for one in messages)
    }
    return Message(
        id=digest(*(one.id for one in messages)), kind="digest", group="", route=first.route,
        labels=shared, severity=worst([one.severity for one in messages]), at_s=at_s,
        firing=sum(one.firing for one in messages), resolved=sum(one.resolved for one in messages),
        alerts=listed[:READABLE], level=max(one.level for one in messages),
    )  # fmt: skip


def digest(*parts: str) -> str:
    """Return a short name for texts of any length."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def of_test(at_s: float) -> Message:
    """Return the message by which a channel is tried."""
    change = {
        "id": f"test|{at_s:.0f}", "rule": "test", "instance": "test", "host": "outrider",
        "severity": "info", "from": "inactive", "to": "firing", "at_s": at_s, "value": 0.0,
        "summary": "test: Outrider can reach you here",
    }  # fmt: skip
    return Message(
        id=digest("test", str(at_s)), kind="test", group="test", route="test", labels={},
        severity="info", at_s=at_s, firing=1, resolved=0, alerts=[change],
    )  # fmt: skip


def _name(alert: dict[str, Any]) -> tuple[Any, ...]:
    return alert["host"], alert["rule"], alert["instance"]
