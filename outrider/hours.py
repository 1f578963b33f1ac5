"""Hours of the week as people write them: ``22:00-07:00``, ``sat,sun 00:00-24:00``.

A window belongs to the day on which it begins; one that ends at or before its beginning ends on the
next day. Times are those of the wall clock, so that daylight saving moves them as it moves people.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:[,-][a-z]{3})*)\s+)?(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)"
)
_DAY_MINUTES = 24 * 60
# Windows that touch are followed from one to the next this often; more is "always".
_MOST_STEPS = 30


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of some days; minutes are counted from midnight."""

    days: frozenset[int]
    begin: int
    end: int


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Window:
    """Return the window that a text describes.

    >>> parse("sat,sun 00:00-24:00").days == {5, 6}
    True

    Raises:
        ValueError: it describes none.
    """
    found = _WINDOW.fullmatch(text.strip().lower())
    example = "write it like 22:00-07:00 or mon-fri 18:00-08:00."
    if not found:
        raise ValueError(f"{text!r} are no hours; {example}")
    hour, minute, end_hour, end_minute = (int(number) for number in found.groups()[1:])
    begin, end = hour * 60 + minute, end_hour * 60 + end_minute
    if max(minute, end_minute) > 59 or begin >= _DAY_MINUTES or end > _DAY_MINUTES:  # noqa: PLR2004
        raise ValueError(f"{text!r} has no such time; {example}")
    return Window(frozenset(_days(found["days"], text)), begin, end)


def checked(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts. Raises ValueError when one describes no hours."""
    for text in texts:
        parse(text)
    return texts


def end_s(windows: Iterable[str], now_s: float, zone: ZoneInfo) -> float | None:
    """Return when the hours around ``now_s`` end, or None when it is in none of them.

    Hours without an end, such as ``00:00-24:00``, are said to end after some weeks.
    """
    parsed = [parse(text) for text in windows]
    found, moment_s = None, now_s
    for _ in range(_MOST_STEPS):
        ends = [_end_s(window, moment_s, zone) for window in parsed]
        later = [end for end in ends if end is not None and end > moment_s]
        if not later:
            break
        found = moment_s = max(later)
    return found


def _end_s(window: Window, now_s: float, zone: ZoneInfo) -> float | None:
    today = datetime.fromtimestamp(now_s, zone).date()
    length = (window.end - window.begin) % _DAY_MINUTES or _DAY_MINUTES
    for day in (today, today - timedelta(days=1)):
        if day.weekday() not in window.days:
            continue
        begin = datetime.combine(day, time(window.begin // 60, window.begin % 60), zone)
        end = begin + timedelta(minutes=length)  # on the wall clock
        if begin.timestamp() <= now_s < end.timestamp():
            return end.timestamp()
    return None


def _days(written: str | None, text: str) -> Iterable[int]:
    for part in (written or "mon-sun").split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{text!r}: {part!r} is no day; write mon, tue, ... or mon-fri.")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        yield from (day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))
