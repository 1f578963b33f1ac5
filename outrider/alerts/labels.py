"""What an alert is called by: its labels, and the patterns that pick alerts by them.

The labels of every alert are ``rule``, ``severity``, ``host``, ``instance``, and ``bot`` or
``budget`` where it is about one; whatever else a change carries under ``labels`` is added. A
pattern is ``label = text``, where ``*`` stands for anything; all patterns of a matcher must match,
and a label that an alert does not have is empty.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from outrider.errors import BadArgument
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Labels = Mapping[str, str]
    Matcher = Mapping[str, str]

_BUDGET = re.compile(r"slo\.(.+)\.(?:page|ticket|left_ratio)", re.DOTALL)
_SILENT_HOST = re.compile(r"fleet\.host\.(.+)\.silent", re.DOTALL)


def key(alert: Mapping[str, Any]) -> str:
    """Return what names an alert in the whole fleet.

    >>> key({"host": "alpha", "rule": "bot is down", "instance": "bot.canary.up"})
    'alpha|bot is down|bot.canary.up'
    """
    return f"{alert['host']}|{alert['rule']}|{alert['instance']}"


def of(alert: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of an alert or of a change.

    An alert about a silent host is evaluated for the fleet; its label ``host`` is the host it is
    about, so that it can hide what else is said of that host.
    """
    found = {str(name): str(value) for name, value in (alert.get("labels") or {}).items()}
    for name in ("rule", "severity", "host", "instance"):
        found[name] = str(alert.get(name, ""))
    if bot := bot_of(found["instance"]):
        found.setdefault("bot", bot)
    if budget := _BUDGET.fullmatch(found["instance"]):
        found.setdefault("budget", budget[1])
    if silent := _SILENT_HOST.fullmatch(found["instance"]):
        found["host"] = silent[1]
    return found


def matches(matcher: Matcher, labels: Labels) -> bool:
    """Tell whether every pattern matches.

    >>> matches({"bot": "canary*", "host": "alpha"}, {"bot": "canary-2", "host": "alpha"})
    True
    """
    return all(_fits(wanted, labels.get(name, "")) for name, wanted in matcher.items())


def parse(words: Iterable[str]) -> dict[str, str]:
    """Return the matcher that words such as ``bot=canary*`` describe.

    Raises:
        BadArgument: a word is no pattern, or there is none: that would match everything.
    """
    found = {}
    for word in words:
        name, equals, wanted = word.partition("=")
        if not equals or not name.strip():
            raise BadArgument(
                f"{word!r} picks no alert: write it like rule='bot is down', bot=canary* or host=a."
            )
        found[name.strip()] = wanted.strip()
    if not found:
        raise BadArgument("Say which alerts: bot=canary, host=alpha, rule='bot is *', severity=...")
    return found


def _fits(pattern: str, text: str) -> bool:
    """Match without backtracking: each part is looked for once, so no pattern is slow."""
    first, *middle = pattern.split("*")
    if not middle:
        return pattern == text
    *middle, last = middle
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
