"""Which series a rule looks at, and what tells their instances apart.

``*`` stands for anything, in the place of a bot's name for one bot: what a bot itself counts as
``jobs.failed`` is not matched by ``bot.*.failed``. Each part of a name with a star in it is a
*label*, called by the part before it (``bot.*.rss_bytes`` has the label ``bot``) or by a name of
its own (``bot.{who}.rss_bytes``). Series of the same labels are one instance.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Every further star multiplies the work of a name that nearly matches.
MOST_STARS = 4
_STAR = re.compile(r"\*|\{(?P<name>[A-Za-z_]\w*)\}")
_LEAST_PARTS_OF_A_BOT = 3

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selector:
    """A series, or a pattern of series. ``labels`` are the names of its parts with a star."""

    text: str
    labels: tuple[str, ...]
    stars: int

    @property
    def area(self) -> str:
        """Return the first part of every series that can match, or nothing when it may vary."""
        first = self.text.partition(".")[0]
        return "" if _STAR.search(first) else first

    def key(self, series: str) -> Key | None:
        """Return the labels' values of a series that matches, or None.

        >>> parse("bot.*.cache.*.hit_ratio").key("bot.canary.cache.profiles.hit_ratio")
        ('canary', 'profiles')
        """
        if not self.labels:
            return () if series == self.text else None
        found = _regex(self.text).fullmatch(series)
        return found.groups() if found else None

    def series(self, key: Key) -> str:
        """Return the series of an instance.

        >>> parse("bot.*.cache.*.hit_ratio").series(("canary", "profiles"))
        'bot.canary.cache.profiles.hit_ratio'
        """
        values = iter(key)
        parts = self.text.split(".")
        return ".".join(next(values) if _STAR.search(part) else part for part in parts)


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Return the selector that a name with or without stars stands for.

    >>> parse("bot.{who}.cache.*.hit_ratio").labels, parse("host.load.1m").labels
    (('who', 'cache'), ())
    """
    labels: list[str] = []
    before = ""
    for part in text.split("."):
        star = _STAR.search(part)
        if star:
            label = star["name"] or (before if before.isidentifier() else "name")
            taken = sum(1 for each in labels if each.rstrip("0123456789") == label)
            labels.append(f"{label}{taken + 1}" if taken else label)
        before = "" if star else part
    return Selector(text, tuple(labels), len(_STAR.findall(text)))


@functools.lru_cache(maxsize=1024)
def _regex(text: str) -> re.Pattern[str]:
    parts = text.split(".")
    of_bot = parts[0] == "bot" and len(parts) >= _LEAST_PARTS_OF_A_BOT
    return re.compile(
        r"\.".join(_part(part, one=of_bot and at == 1) for at, part in enumerate(parts)),
        re.DOTALL,
    )


def _part(part: str, *, one: bool) -> str:
    if not _STAR.search(part):
        return re.escape(part)
    literals: Sequence[str] = re.split(r"\*|\{[A-Za-z_]\w*\}", part)
    return "(" + ("[^.]*" if one else ".*").join(map(re.escape, literals)) + ")"
