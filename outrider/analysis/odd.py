"""The one place where reports ask for anomalies: what fired, what was expected, what came.

The detector tells what is unusual; here is decided what is worth saying. Half a percent more memory
than ever may be unusual, and is no news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from outrider.analysis import words

if TYPE_CHECKING:
    from outrider.analysis.spells import Spell
    from outrider.analysis.state import HostState
    from outrider.samples import Window

MOST = 20
# Less than a tenth beyond what was expected, or five points of a share, is no news.
_LEAST_SHARE, _LEAST_RATIO = 0.1, 0.05
# What counts its own time or age is odd by design when it restarts.
_NOT_JUDGED = (".uptime_s", ".heartbeat_age_s", ".cpu_seconds_total")


class Oddity(msgspec.Struct, frozen=True):
    """A series that is not as usual. ``component`` says which part of the detector fired.

    ``value``, ``low`` and ``high`` are rates per second where the series is a counter.
    """

    series: str
    value: float
    low: float
    high: float
    score: float
    since_s: float
    component: str
    words: str


def find(window: Window, state: HostState) -> list[Oddity]:
    """Return the series that are odd at a window's last tick, the oddest first.

    The window was learned by the state before; so what is asked twice is the same twice.
    """
    now_s = float(window.times_s[-1])
    found = [
        _oddity(name, spell, state, now_s)
        for name, spell in state.odd.items()
        if not spell.calm and matters(name, spell)
    ]
    found.sort(key=lambda each: (-each.score, -_beyond(each)))
    return found[:MOST]


def _oddity(name: str, spell: Spell, state: HostState, now_s: float) -> Oddity:
    least = state.normal.table["least"][state.names.index(name)]
    # What was never negative is not expected to be.
    low = max(spell.low, 0.0) if least >= 0 else spell.low
    return Oddity(
        name, spell.value, low, spell.high, spell.score, spell.since_s, spell.component,
        _words(name, spell, low, now_s),
    )  # fmt: skip


def matters(name: str, spell: Spell) -> bool:
    """Tell whether a spell is worth telling of."""
    if name.endswith(_NOT_JUDGED):
        return False
    if spell.component == "flat_line":
        return True
    off = max(spell.low - spell.value, spell.value - spell.high)
    least = _LEAST_SHARE * max(abs(spell.value), abs(spell.low), abs(spell.high))
    return off >= (max(least, _LEAST_RATIO) if name.endswith("_ratio") else least)


def _beyond(found: Oddity) -> float:
    """Return how far beyond what was expected a value is, in widths of that."""
    off = max(found.low - found.value, found.value - found.high)
    return off / (found.high - found.low or 1.0)


def _words(name: str, spell: Spell, low: float, now_s: float) -> str:
    since = words.clock(spell.since_s, now_s) + (f", after {spell.after}" if spell.after else "")
    what, value = words.subject(name), words.value(name, spell.value)
    if spell.component == "flat_line":
        return f"{what} stands still at {value}, which it never did for so long; since {since}"
    return f"{what} is {value}, expected {words.span(name, low, spell.high)}; since {since}"
