"""Times of the week at which a rule may begin to fire: ``Mon-Fri 08:00-18:00``.

What fires when they end goes on until it clears: an alert is not over because it is six o'clock.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from outrider.errors import Mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK = frozenset(range(7))
_DAY_MINUTES = 24 * 60
_TIMES = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Span:
    """Minutes of a day, on some days; one that ends before it begins runs past midnight."""

    days: frozenset[int]
    start: int
    end: int

    def holds(self, day: int, minute: int) -> bool:
        """Tell whether a minute of a day (0 is Monday) lies within."""
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        yesterday = (day - 1) % 7
        return (day in self.days and minute >= self.start) or (
            yesterday in self.days and minute < self.end
        )


@dataclass(frozen=True, slots=True)
class Calendar:
    """Spans of a week in a time zone; no spans are all the time."""

    spans: tuple[Span, ...] = ()
    timezone: str = "UTC"

    def holds(self, at_s: float) -> bool:
        """Tell whether a time, in seconds since 1970, lies within.

        >>> parse(["Mon-Fri 08:00-18:00"]).holds(0.0), parse(["Thu"]).holds(0.0)
        (False, True)
        """
        if not self.spans:
            return True
        utc = zoneinfo.ZoneInfo("UTC")
        there = (datetime.fromtimestamp(0, utc) + timedelta(seconds=at_s)).astimezone(
            zoneinfo.ZoneInfo(self.timezone)
        )
        minute = there.hour * 60 + there.minute
        return any(span.holds(there.weekday(), minute) for span in self.spans)


def parse(texts: Iterable[str], timezone: str = "UTC") -> Calendar:
    """Return the calendar of spans such as ``Mon-Fri 08:00-18:00``, ``Sat,Sun``, ``22:00-06:00``.

    Raises:
        BadArgument: names every span that can't be read.
    """
    spans, wrong = [], []
    for text in texts:
        span = _span(text)
        if span is None:
            wrong.append(
                f"{text!r} is no time of the week; write it like 'Mon-Fri 08:00-18:00', 'Sat,Sun' "
                "or '22:00-06:00'."
            )
        else:
            spans.append(span)
    if wrong:
        raise Mistakes(wrong)
    return Calendar(tuple(spans), timezone)


def _span(text: str) -> Span | None:
    days, start, end = _WEEK, 0, _DAY_MINUTES
    words = text.split()
    if not words or len(words) > 2:  # noqa: PLR2004 - days and times
        return None
    times = _TIMES.fullmatch(words[-1])
    if times:
        hours = [int(times[1]), int(times[3])]
        minutes = [int(times[2]), int(times[4])]
        if max(minutes) >= 60:  # noqa: PLR2004
            return None
        start, end = (60 * h + m for h, m in zip(hours, minutes, strict=True))
        words.pop()
        if start >= _DAY_MINUTES or end > _DAY_MINUTES or start == end:
            return None
    if words:
        named = _days(words[0]) if len(words) == 1 else None
        if named is None:
            return None
        days = named
    return Span(days, start, end)


def _days(text: str) -> frozenset[int] | None:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            return None
        start = _DAYS.index(first)
        end = _DAYS.index(last) if dash else start
        found |= {(start + step) % 7 for step in range((end - start) % 7 + 1)}
    return frozenset(found)
