"""What an operator may do from the page: the same functions as the command line's, written down.

Each action is one function from what was asked to what came of it, in words. Wrong input is
refused by name and value; what is not there is told apart from what is wrong, since a page that is
a minute old asks for bots and alerts that have gone. What they call is loaded when first called:
most dashboards only show.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from outrider import units
from outrider.errors import BadArgument, OutriderError
from outrider.web import records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from outrider.web.source import Source

LONGEST_WHY = 500
LONGEST_NAME = 500
LONGEST_PATTERN = 200
MOST_MATCHERS = 20
LONGEST_S = 366 * 86_400.0
MOST_REPLICAS = 1_000
BOT = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$"
# One line, without what moves a terminal's cursor. As JSON Schema and Python both read it.
LINE = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$"
_BOT, _LINE = re.compile(BOT), re.compile(LINE)


class NotThere(OutriderError):  # noqa: N818 - reads as the message it is
    """What an action is about has gone, or never was."""


class Orders(Protocol):
    """Passes an order on to the supervisor of a host."""

    def __call__(self, what: str, *, host: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the processes concerned, each with its name and state. Blocks.

        Raises:
            OutriderError: it was refused, or nobody took it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that somebody asked for."""

    source: Source
    orders: Orders | None
    who: str
    given: Mapping[str, Any]

    @property
    def why(self) -> str:
        """Why, in the person's words."""
        return _text(self.given, "why", longest=LONGEST_WHY, default="")


def about(what: str, given: Mapping[str, Any]) -> str:
    """Return what an action is about, for the record; whatever was sent."""
    if what in ("restart", "scale"):
        count = f" to {given.get('replicas')}" if what == "scale" else ""
        return f"{given.get('bot')} on {given.get('host')}{count}"
    return str(given.get("alert") or given.get("matchers") or given.get("silence") or "")


def ack(asked: Asked) -> str:
    """Acknowledge an alert that fires: ``alert``, and ``lasts_s`` if not until it clears."""
    from outrider.alerts import acknowledgement, groups

    alert = _firing(asked)
    lasts_s = _seconds(asked.given, needed=False)
    client, now_s = asked.source.client, asked.source.clock.now()
    acknowledgement.add(
        client, [alert], author=asked.who, now_s=now_s, lasts_s=lasts_s, comment=asked.why
    )
    groups.wake(client, now_s)
    until = f"for {units.show_duration(lasts_s)}" if lasts_s else "until it clears"
    return f"acknowledged {until}"


def unack(asked: Asked) -> str:
    """Take an acknowledgement back: ``alert``."""
    from outrider.alerts import acknowledgement, groups

    alert = _firing(asked)
    client, now_s = asked.source.client, asked.source.clock.now()
    acknowledgement.withdraw(client, [alert], author=asked.who, now_s=now_s)
    groups.wake(client, now_s)
    return "taken back; people are told again"


def silence(asked: Asked) -> str:
    """Have nobody told of what ``matchers`` match, for ``lasts_s``."""
    from outrider.alerts import silences

    matchers = asked.given.get("matchers")
    if not isinstance(matchers, dict) or not 1 <= len(matchers) <= MOST_MATCHERS:
        raise BadArgument('matchers: give an object such as {"host": "alpha"}.')
    if not all(
        isinstance(pattern, str)
        and all(
            0 < len(word) <= LONGEST_PATTERN and _LINE.fullmatch(word) for word in (name, pattern)
        )
        for name, pattern in matchers.items()
    ):
        raise BadArgument('matchers: each must be a label and a pattern: {"bot": "canary*"}.')
    lasts_s = _seconds(asked.given, needed=True)
    assert lasts_s is not None
    made = silences.add(
        asked.source.client, matchers, author=asked.who, now_s=asked.source.clock.now(),
        lasts_s=lasts_s, comment=asked.why,
    )  # fmt: skip
    return f"{made.id}: silenced for {units.show_duration(lasts_s)}"


def unsilence(asked: Asked) -> str:
    """End a silence now: ``silence``, its id."""
    from outrider.alerts import groups, silences

    name = _text(asked.given, "silence", longest=40)
    client, now_s = asked.source.client, asked.source.clock.now()
    try:
        silences.end(client, name, now_s)
    except BadArgument as error:
        raise NotThere(str(error)) from None
    groups.wake(client, now_s)
    return f"{name}: ended"


def restart(asked: Asked) -> str:
    """Stop ``bot`` on ``host`` and start it again."""
    return _order(asked, "restart")


def scale(asked: Asked) -> str:
    """Run ``replicas`` processes of ``bot`` on ``host``."""
    replicas = asked.given.get("replicas")
    if (
        isinstance(replicas, bool)
        or not isinstance(replicas, int | float)
        or not 0 <= replicas <= MOST_REPLICAS
        or replicas != int(replicas)  # 3.0 is a whole number to JSON
    ):
        raise BadArgument(f"replicas: give a whole number from 0 to {MOST_REPLICAS}.")
    return _order(asked, "scale", instances=int(replicas))


ACTIONS: dict[str, Callable[[Asked], str]] = {
    "ack": ack, "unack": unack, "silence": silence, "unsilence": unsilence,
    "restart": restart, "scale": scale,
}  # fmt: skip
FIELDS: dict[str, frozenset[str]] = {
    "ack": frozenset({"alert", "why", "lasts_s"}),
    "unack": frozenset({"alert", "why"}),
    "silence": frozenset({"matchers", "lasts_s", "why"}),
    "unsilence": frozenset({"silence", "why"}),
    "restart": frozenset({"bot", "host", "why"}),
    "scale": frozenset({"bot", "host", "replicas", "why"}),
}


def do(what: str, asked: Asked) -> str:
    """Carry an action out and return what came of it. Blocks.

    Raises:
        BadArgument: something about it is wrong.
        NotThere, UnknownBot: what it is about is not there.
        OutriderError, redis.RedisError: it could not be done.
    """
    if unknown := sorted(set(asked.given) - FIELDS[what]):
        known = ", ".join(sorted(FIELDS[what]))
        raise BadArgument(f"{unknown[0][:80]!r} is nothing that {what} takes; it takes {known}.")
    _ = asked.why  # checked first, so that nothing is done whose reason can't be kept
    return ACTIONS[what](asked)


def _order(asked: Asked, what: str, **fields: Any) -> str:
    bot, host = _text(asked.given, "bot", longest=80), _text(asked.given, "host", longest=63)
    if not _BOT.fullmatch(bot):
        raise BadArgument(f"bot = {bot!r}: that is no bot's name; it looks like canary.")
    if host not in records.heartbeats(asked.source.client):
        raise NotThere(f"host = {host!r}: no such host; `outrider status` lists them.")
    if asked.orders is None:
        raise NotThere("This dashboard can't give orders; run it with `outrider dashboard`.")
    done = asked.orders(
        what, host=host, bot=bot, who=f"{asked.who} (dashboard)", why=asked.why, **fields
    )
    told = ", ".join(f"{each['name']} {each['state']}" for each in done[:5])
    more = f" and {len(done) - 5} more" if len(done) > 5 else ""  # noqa: PLR2004
    return f"{told}{more}" or "nothing to do"


def _firing(asked: Asked) -> str:
    """Return the alert that is named, if it is not inactive."""
    from outrider.alerts import journal, labels

    named = _text(asked.given, "alert", longest=LONGEST_NAME)
    host = named.partition("|")[0]
    active = (asdict(alert) for alert in journal.active(asked.source.client, host))
    if named not in {labels.key(alert) for alert in active}:
        raise NotThere(f"{named!r} does not fire; `outrider alerts list` shows what does.")
    return named


def _text(given: Mapping[str, Any], name: str, *, longest: int, default: str | None = None) -> str:
    found = given.get(name, default)
    if not isinstance(found, str) or (default is None and not found):
        raise BadArgument(f"{name}: give a text.")
    if len(found) > longest or not _LINE.fullmatch(found):
        raise BadArgument(f"{name}: give at most {longest} characters, on one line.")
    return found


def _seconds(given: Mapping[str, Any], *, needed: bool) -> float | None:
    found = given.get("lasts_s")
    if found is None and not needed:
        return None
    if (
        isinstance(found, bool)
        or not isinstance(found, int | float)  # NaN and infinity are no JSON
        or not 1 <= found <= LONGEST_S
    ):
        raise BadArgument(f"lasts_s: give a number of seconds from 1 to {LONGEST_S:.0f}.")
    return float(found)
