"""Planned maintenance: time that is announced beforehand, and counts apart from the budget.

Only what lies ahead can be planned: what was counted stays counted, as budgets are sums.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider.errors import BadArgument
from outrider.store import keys

if TYPE_CHECKING:
    import redis

# A window that begins this much in the past is "now", as people type.
_GRACE_S = 60.0
_LONGEST_S = 31 * 86_400.0
_KEPT_S = 400 * 86_400.0


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A window of maintenance of the objectives and bots that match."""

    id: str
    start_s: float
    end_s: float
    reason: str
    author: str
    slo: str = "*"
    bot: str = "*"

    def covers(self, slo: str, who: str, at_s: float) -> bool:
        """Tell whether a tick of a bot is planned to be bad for an objective."""
        return (
            self.start_s <= at_s < self.end_s
            and fnmatchcase(slo, self.slo)
            and fnmatchcase(who, self.bot)
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return asdict(self)


def plan(
    client: redis.Redis,
    *,
    start_s: float,
    end_s: float,
    reason: str,
    author: str,
    now_s: float,
    slo: str = "*",
    bot: str = "*",
) -> Maintenance:
    """Announce a window.

    Raises:
        BadArgument: it ends before it begins, has begun already, or is longer than 31 days.
    """
    if start_s < now_s - _GRACE_S:
        raise BadArgument(
            "maintenance can't begin in the past: what was counted stays counted. "
            "Let it begin now, or say in the report what happened."
        )
    if not 0 < end_s - start_s <= _LONGEST_S:
        raise BadArgument(f"maintenance of {end_s - start_s:.0f} s; expected up to 31 days.")
    made = Maintenance(secrets.token_hex(4), start_s, end_s, reason, author, slo, bot)
    for old in planned(client):
        if old.end_s < now_s - _KEPT_S:
            client.hdel(keys.MAINTENANCE, old.id)
    client.hset(keys.MAINTENANCE, made.id, json.dumps(made.plain()))
    return made


def end(client: redis.Redis, window: str, *, now_s: float) -> Maintenance:
    """End a window now; one that lies ahead is taken back.

    Raises:
        BadArgument: there is none of this id, or it is over.
    """
    found = next((each for each in planned(client) if each.id == window), None)
    if found is None or found.end_s <= now_s:
        known = ", ".join(each.id for each in planned(client) if each.end_s > now_s) or "none"
        raise BadArgument(f"{window!r}: no such maintenance runs or lies ahead; there is {known}.")
    if found.start_s >= now_s:
        client.hdel(keys.MAINTENANCE, window)
        return found
    ended = Maintenance(**{**found.plain(), "end_s": now_s})
    client.hset(keys.MAINTENANCE, window, json.dumps(ended.plain()))
    return ended


def planned(client: redis.Redis) -> list[Maintenance]:
    """Return all windows by their beginning, those over included."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.MAINTENANCE))
    found = [msgspec.convert(json.loads(text), Maintenance) for text in stored.values()]
    return sorted(found, key=lambda each: (each.start_s, each.id))
