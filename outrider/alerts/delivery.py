"""Sends what waits for a channel: one worker a channel at a time, each message at least once.

A message stays in Redis until its channel took it. Whoever sends holds the channel's claim, which
ends by itself: when a worker dies while it sends, another sends the message again after half a
minute, with the same ``id``.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider import units
from outrider.alerts import log, message, pausing
from outrider.errors import DeliveryError
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from outrider.alerts.channels.base import Channel
    from outrider.alerts.message import Message
    from outrider.clock import Clock

# Longer than any channel may take to answer.
CLAIM_S = 30
# More messages than this at once are combined into one.
COMBINED_FROM = 4
MOST_COMBINED = 200
# An outage of a channel longer than this ends in "gave up", which the notification log shows.
GIVE_UP_AFTER_S = 86_400.0
# After this the task must end; what is left is sent by the next.
LONGEST_RUN_S = 25.0
_SENT = resources.files("outrider.alerts").joinpath("sent.lua").read_text("utf-8")
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])"
_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXPIRE', KEYS[1], ARGV[2])"


@dataclass
class Outcome:
    """What came of a channel's messages."""

    told: int = 0
    failed: int = 0


class Courier:
    """Delivers by one channel. ``steps`` of it are whole: it may be killed between any two."""

    def __init__(self, client: redis.Redis, channel: Channel, clock: Clock) -> None:
        self._redis = client
        self._channel = channel
        self._clock = clock
        self._rate = units.parse_rate(channel.rate)
        self._token = uuid.uuid4().hex
        self._claim = keys.sending(channel.name)

    def run(self) -> Outcome:
        """Send what is due, until nothing is, or the channel needs a pause."""
        outcome, ends_s = Outcome(), self._clock.monotonic() + LONGEST_RUN_S
        if not self.claim():
            return outcome
        try:
            while self._clock.monotonic() < ends_s and (batch := self.next()):
                if not self.renew():
                    break  # it took too long, and another worker sends already
                done = self.send(batch)
                outcome.told += done
                outcome.failed += not done
                if not done:
                    break
        finally:
            self._redis.eval(_RELEASE, 1, self._claim, self._token)
        return outcome

    def claim(self) -> bool:
        """Take the channel for half a minute. False: another worker has it."""
        return bool(self._redis.set(self._claim, self._token, nx=True, ex=CLAIM_S))

    def renew(self) -> bool:
        """Keep the channel for another half minute. False: it is lost."""
        return bool(self._redis.eval(_RENEW, 1, self._claim, self._token, str(CLAIM_S)))

    def next(self) -> dict[str, bytes]:
        """Return the messages that are sent next, by group; none when nothing is due."""
        now_s = self._clock.now()
        if pausing.free_s(health(self._redis, self._channel.name), self._rate, now_s) > now_s:
            return {}
        name = self._channel.name
        due = cast(
            "list[bytes]",
            self._redis.zrangebyscore(keys.due(name), "-inf", now_s, 0, MOST_COMBINED),
        )
        if not due:
            return {}
        texts = cast("list[bytes | None]", self._redis.hmget(keys.messages(name), due))
        found = {group.decode(): text for group, text in zip(due, texts, strict=True) if text}
        if len(found) >= COMBINED_FROM and not self._channel.is_sink:
            return found
        held = {group: text for group, text in found.items() if message.load(text).held}
        if len(held) > 1 and not self._channel.is_sink:
            return held  # they waited for one digest
        return dict(list(found.items())[:1])

    def send(self, batch: dict[str, bytes]) -> bool:
        """Deliver once and note the result. Return False when another try may help."""
        loaded = {group: message.load(text) for group, text in batch.items()}
        now_s = self._clock.now()
        one = message.combined(list(loaded.values()), now_s)
        before = health(self._redis, self._channel.name)
        result, done, gave_up, asked_s = "", True, False, None
        try:
            result = self._channel.deliver(one)
        except DeliveryError as error:
            asked_s = error.retry_after_s
            done = gave_up = error.permanent or now_s - one.at_s > GIVE_UP_AFTER_S
            result = f"gave up: {error}" if gave_up else f"failed: {error}"
        now_s = self._clock.now()
        after = (
            pausing.sent(before, self._rate, now_s)
            if done
            else pausing.failed(before, self._rate, now_s, error=result, asked_s=asked_s)
        )
        self.record(batch, loaded, one, result=result, done=done, after=after, now_s=now_s)
        return done

    def record(
        self,
        batch: dict[str, bytes],
        loaded: dict[str, Message],
        one: Message,
        *,
        result: str,
        done: bool,
        after: pausing.Health,
        now_s: float,
    ) -> None:
        """Note a result, and in the same step forget the messages that are done."""
        name, next_s = self._channel.name, None if done else after.until_s
        entry = log.entry(one, name, at_s=now_s, result=result, done=done, next_s=next_s)
        noted = {
            "done": done, "next_s": next_s or now_s, "entry": entry, "kept": log.KEPT,
            "channel": name, "health": json.dumps(asdict(after)),
            "messages": [
                {
                    "group": group, "text": text.decode(),
                    "again": replace(loaded[group], tries=loaded[group].tries + 1).dump(),
                }
                for group, text in batch.items()
            ],
        }  # fmt: skip
        asked = [keys.messages(name), keys.due(name), keys.NOTIFICATIONS, keys.CHANNELS]
        self._redis.register_script(_SENT)(keys=asked, args=[json.dumps(noted)])


def health(client: redis.Redis, channel: str) -> pausing.Health:
    """Return how a channel fares."""
    stored = cast("bytes | None", client.hget(keys.CHANNELS, channel))
    return msgspec.convert(json.loads(stored), pausing.Health) if stored else pausing.Health()


def next_s(client: redis.Redis, channels: Iterable[Channel], now_s: float) -> float | None:
    """Return when a message may be sent next; None when none waits."""
    found = []
    for channel in channels:
        first = cast("Any", client.zrange(keys.due(channel.name), 0, 0, withscores=True))
        if first:
            rate = units.parse_rate(channel.rate)
            free = pausing.free_s(health(client, channel.name), rate, now_s)
            found.append(max(first[0][1], free))
    return min(found, default=None)


def waiting(client: redis.Redis, channels: Iterable[str], most: int = 100) -> list[dict[str, Any]]:
    """Return what is still to be told, soonest first, and when.

    Plain data: ``channel``, ``next_s``, ``tries``, ``kind``, ``text``, ``severity``, ``firing``,
    ``resolved``, ``error`` (of the channel's last try) and ``open`` (its circuit).
    """
    from outrider.alerts import wording

    found: list[dict[str, Any]] = []
    for name in channels:
        fares = health(client, name)
        due = cast("Any", client.zrange(keys.due(name), 0, most - 1, withscores=True))
        for group, at_s in due:
            text = cast("bytes | None", client.hget(keys.messages(name), group))
            if text is None:
                continue
            one = message.load(text)
            found.append(
                {
                    "channel": name, "next_s": max(at_s, fares.until_s), "tries": one.tries,
                    "kind": one.kind, "text": wording.title(one), "severity": one.severity,
                    "firing": one.firing, "resolved": one.resolved, "error": fares.error,
                    "open": fares.is_open,
                }
            )  # fmt: skip
    return sorted(found, key=lambda one: one["next_s"])[:most]


def forget(client: redis.Redis, channels: Iterable[str], now_s: float) -> None:
    """Give up what waits for channels that are no longer in the settings, and say so in the log."""
    gone = {
        name.decode().removeprefix("or:alerts:messages:")
        for name in client.scan_iter("or:alerts:messages:*")
    } - set(channels)
    for name in gone:
        for text in cast("list[bytes]", client.hvals(keys.messages(name))):
            told = "gave up: the channel is no longer in the settings"
            client.lpush(
                keys.NOTIFICATIONS,
                log.entry(message.load(text), name, at_s=now_s, result=told, done=True),
            )
        client.delete(keys.messages(name), keys.due(name))
