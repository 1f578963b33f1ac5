"""What was done that may make something else normal: starts, restarts, other numbers of bots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from outrider.store import keys

if TYPE_CHECKING:
    import redis

_BEGINNINGS = ("starting", "asked to start", "asked to restart", "asked to scale", "deployed")
# Events of a few ticks; of more at once, the newest count.
_LOOKED_AT = 60


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something began at ``at_s``, for a bot or one of its instances; for all, when None."""

    at_s: float
    bot: str | None
    what: str

    def concerns(self, bot: str | None) -> bool:
        """Tell whether a bot's series are concerned.

        >>> scaled = Annotation(0.0, "canary", "asked to scale")
        >>> scaled.concerns("canary-2"), scaled.concerns("echo"), scaled.concerns(None)
        (True, False, False)
        """
        if self.bot is None:
            return True
        if bot is None:
            return False
        name, dash, number = bot.rpartition("-")
        return self.bot in (bot, name if dash and number.isdigit() else bot)


def read(client: redis.Redis, host: str) -> list[Annotation]:
    """Return the newest annotations of a host. What can't be read is left out."""
    raws = cast("list[bytes]", client.lrange(keys.ACTIONS, 0, _LOOKED_AT - 1))
    return [found for raw in raws if (found := _of(raw, host))]


def _of(raw: bytes, host: str) -> Annotation | None:
    try:
        event: dict[str, Any] = json.loads(raw)
        at_s, what = float(event["at_s"]), str(event["what"])
        who, bot = str(event.get("who") or ""), event.get("bot")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if what not in _BEGINNINGS or ("@" in who and who.rpartition("@")[2] != host):
        return None
    return Annotation(at_s, str(bot) if bot else None, what)
