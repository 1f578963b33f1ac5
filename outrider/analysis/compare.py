"""Compares now with normal: what is off the usual of this hour, in words and numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from outrider.analysis import words

if TYPE_CHECKING:
    from outrider.analysis.state import HostState
    from outrider.samples import Window

# Twice as far as the end of what is usual, and a twentieth of the level: less is no news.
_OFF, _OFF_SHARE = 2.0, 0.05
# What counts its own time or age is not usual by design.
_NOT_JUDGED = (".uptime_s", ".heartbeat_age_s", ".cpu_seconds_total")
_SEASONS = ("", "hour", "hour and weekday")


class Comparison(msgspec.Struct, frozen=True):
    """A series now, and what is usual. ``score`` 1 is the end of the usual range, 0 its center.

    ``since_s`` is when this normal began to be learned; ``season`` says what it goes by.
    """

    series: str
    now: float
    low: float
    center: float
    high: float
    score: float
    is_off: bool
    season: str
    since_s: float
    samples: int
    words: str


def compare(state: HostState, window: Window) -> list[Comparison]:
    """Return every series of a window's last tick that has a normal, the farthest off first."""
    if not len(window.times_s) or not state.names:
        return []
    at_s = float(window.times_s[-1])
    now = state.judged(window)
    low, center, high = state.normal.expected(at_s)
    scores = state.normal.scores(at_s, now)
    held = state.normal.table
    found = []
    for place in np.flatnonzero(np.isfinite(scores)).tolist():
        name, value, middle = state.names[place], float(now[place]), float(center[place])
        score = float(np.clip(scores[place], -1e6, 1e6))
        far = abs(score) > _OFF and abs(value - middle) > _OFF_SHARE * abs(middle)
        far = far and not name.endswith(_NOT_JUDGED)
        season = _SEASONS[int(held["mode"][place])]
        found.append(
            Comparison(
                name, value, float(low[place]), middle, float(high[place]), score, far, season,
                float(held["since_s"][place]), int(held["count"][place]),
                _words(name, value, middle, (float(low[place]), float(high[place])), season,
                       is_off=far),
            )
        )  # fmt: skip
    found.sort(key=lambda each: (not each.is_off, -abs(each.score)))
    return found


def _words(
    name: str, value: float, center: float, usual: tuple[float, float], season: str, *, is_off: bool
) -> str:
    """Return one sentence on a series."""
    shown, span = words.value(name, value), words.span(name, *usual)
    when = f" at this {season}" if season else ""
    if not is_off or not math.isfinite(center):
        return f"{words.subject(name)} is {shown}, as usual{when} ({span})"
    return f"{words.subject(name)} is {shown}, {words.off(value, center)} what it is{when} ({span})"
