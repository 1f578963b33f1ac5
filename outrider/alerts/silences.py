"""Silences: of these alerts, until then, nobody is told. Each has an author and an end.

Stored under ``or:alerts:silences``, a hash of id -> JSON::

    {"id": "4f1c...", "match": {"host": "alpha"}, "author": "ann", "comment": "new disk",
     "created_s": 1795454660.0, "starts_s": 1795454660.0, "ends_s": 1795461860.0}

Those that return every week stand in the settings, as ``[[silence]]``.
"""

from __future__ import annotations

import json
import uuid
import zoneinfo
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider import hours
from outrider.alerts import labels
from outrider.errors import BadArgument
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from outrider.settings import Settings

# What ended is kept for this long, for whoever asks why nobody was told.
KEPT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Silence:
    """Times are seconds since 1970."""

    id: str
    match: dict[str, str]
    author: str
    comment: str
    created_s: float
    starts_s: float
    ends_s: float

    def holds(self, now_s: float) -> bool:
        """Tell whether it is in force."""
        return self.starts_s <= now_s < self.ends_s


def add(
    client: redis.Redis,
    match: Mapping[str, str],
    *,
    author: str,
    now_s: float,
    lasts_s: float,
    comment: str = "",
    starts_s: float | None = None,
) -> Silence:
    """Keep a silence and return it.

    Raises:
        BadArgument: it would match every alert, or end before it begins.
    """
    if not any(pattern.strip("*") for pattern in match.values()):
        raise BadArgument("A silence needs a pattern that not every alert matches: host=alpha.")
    if lasts_s <= 0:
        raise BadArgument("A silence must last; write it like --for 2h.")
    begins_s = now_s if starts_s is None else starts_s
    made = Silence(
        uuid.uuid4().hex[:12], dict(match), author, comment, now_s, begins_s, begins_s + lasts_s
    )
    client.hset(keys.SILENCES, made.id, json.dumps(asdict(made)))
    return made


def end(client: redis.Redis, silence_id: str, now_s: float) -> Silence:
    """End a silence now; it stays listed for a week. Raises BadArgument when there is none."""
    stored = cast("bytes | None", client.hget(keys.SILENCES, silence_id))
    if stored is None:
        raise BadArgument(
            f"{silence_id!r}: no such silence; `outrider alerts silences` lists them."
        )
    found = _read(stored)
    changed = replace(found, ends_s=min(found.ends_s, now_s))
    client.hset(keys.SILENCES, silence_id, json.dumps(asdict(changed)))
    return changed


def read(client: redis.Redis, now_s: float, *, ended: bool = False) -> list[Silence]:
    """Return the silences that hold or will, those that end first first; with ``ended`` all."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.SILENCES))
    found = sorted(map(_read, stored.values()), key=lambda silence: silence.ends_s)
    return [silence for silence in found if ended or silence.ends_s > now_s]


def expire(client: redis.Redis, now_s: float) -> None:
    """Forget silences that ended long ago."""
    old = [
        silence.id for silence in read(client, now_s, ended=True) if silence.ends_s < now_s - KEPT_S
    ]
    if old:
        client.hdel(keys.SILENCES, *old)


class Silenced:
    """Says who silences an alert, at one moment."""

    def __init__(self, stored: Sequence[Silence], settings: Settings, now_s: float) -> None:
        zone = zoneinfo.ZoneInfo(settings.timezone)
        self._matchers = [
            (silence.match, f"silenced by {silence.author} ({silence.id})")
            for silence in stored
            if silence.holds(now_s)
        ]
        self._matchers += [
            (weekly.match, f"silenced by the settings ({weekly.name})")
            for weekly in settings.silence
            if hours.end_s(weekly.when, now_s, zone) is not None
        ]

    def by(self, found: Mapping[str, str]) -> str | None:
        """Return why an alert with these labels is silenced, or None."""
        return next((why for match, why in self._matchers if labels.matches(match, found)), None)


def _read(stored: bytes) -> Silence:
    found: Any = json.loads(stored)
    return msgspec.convert(found, Silence)
