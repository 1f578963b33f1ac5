"""Acknowledging: somebody has it. No reminder and no escalation until it clears, or for a time.

A silence hides an alert, and the next one as well; an acknowledgement belongs to this occurrence,
and ends with it. A *snooze* is one that promises nothing: it ends after its time, and the alert is
told again if it still fires.

Stored under ``or:alerts:acks``, a hash of alert (``host|rule|instance``) -> JSON::

    {"kind": "ack", "author": "ann", "comment": "", "at_s": 1795454660.0, "until_s": null}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from outrider.alerts import comments
from outrider.errors import BadArgument
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """``until_s`` is None for as long as the alert fires."""

    kind: Literal["ack", "snooze"]
    author: str
    comment: str
    at_s: float
    until_s: float | None = None

    def holds(self, now_s: float) -> bool:
        """Tell whether it is in force."""
        return self.until_s is None or now_s < self.until_s


def add(
    client: redis.Redis,
    alerts: Iterable[str],
    *,
    author: str,
    now_s: float,
    lasts_s: float | None = None,
    comment: str = "",
    kind: Literal["ack", "snooze"] = "ack",
) -> Acknowledgement:
    """Acknowledge alerts, named as ``labels.key`` names them; a newer word replaces an older one.

    Raises:
        BadArgument: a snooze without an end, or a time that is none.
    """
    if lasts_s is None and kind == "snooze":
        raise BadArgument("A snooze needs its time; write it like --for 30m.")
    if lasts_s is not None and lasts_s <= 0:
        raise BadArgument("The time must be longer than nothing; write it like --for 30m.")
    until_s = None if lasts_s is None else now_s + lasts_s
    made = Acknowledgement(kind, author, comment, now_s, until_s)
    with client.pipeline(transaction=True) as pipe:
        for alert in alerts:
            pipe.hset(keys.ACKS, alert, json.dumps(asdict(made)))
            said = {"ack": "acknowledged", "snooze": "snoozed"}[kind]
            comments.add(pipe, alert, author=author, text=comment, now_s=now_s, did=said)
        pipe.execute()
    return made


def withdraw(client: redis.Redis, alerts: Iterable[str], *, author: str, now_s: float) -> None:
    """Take acknowledgements back: the alerts are told again."""
    with client.pipeline(transaction=True) as pipe:
        for alert in alerts:
            ended = Acknowledgement("ack", author, "", now_s, now_s)
            # Not deleted: an end that has come is what makes people be told again.
            pipe.hset(keys.ACKS, alert, json.dumps(asdict(ended)))
            comments.add(pipe, alert, author=author, text="", now_s=now_s, did="took it back")
        pipe.execute()


def read(client: redis.Redis) -> dict[str, Acknowledgement]:
    """Return what is acknowledged, by alert."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.ACKS))
    return {alert.decode(): _read(text) for alert, text in stored.items()}


def of(client: redis.Redis, alerts: Iterable[str]) -> dict[str, Acknowledgement]:
    """Return the acknowledgements of some alerts."""
    named = list(alerts)
    if not named:
        return {}
    found = cast("list[bytes | None]", client.hmget(keys.ACKS, named))
    return {alert: _read(text) for alert, text in zip(named, found, strict=True) if text}


def _read(text: bytes) -> Acknowledgement:
    return msgspec.convert(json.loads(text), Acknowledgement)
