"""The one place where reports ask for anomalies: what fired, what was expected, what came.

Another detector is wired up here, and nowhere else.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec

from outrider.analysis import anomaly, words
from outrider.samples import is_counter

if TYPE_CHECKING:
    from outrider.analysis.state import HostState
    from outrider.samples import Window


class Oddity(msgspec.Struct, frozen=True):
    """A series that is not as usual. ``component`` says which part of the detector fired."""

    series: str
    value: float
    low: float
    high: float
    score: float
    since_s: float
    component: str
    words: str


def find(window: Window, state: HostState) -> list[Oddity]:
    """Return the odd series of a window's last tick, the oddest first.

    Since when a series is odd is remembered by the state: it may be longer than the window.
    """
    found = [_bounded(each, state) for each in anomaly.find(window)]
    state.odd = {
        each.series: min(each.since_s, state.odd.get(each.series, each.since_s)) for each in found
    }
    return [
        Oddity(
            each.series, each.value, each.low, each.high, each.score, state.odd[each.series],
            "level", _words(each, float(window.times_s[-1]), state.odd[each.series]),
        )
        for each in found
    ]  # fmt: skip


def _bounded(found: anomaly.Anomaly, state: HostState) -> anomaly.Anomaly:
    """Return an anomaly whose range does not go below nought where the series never did."""
    known = found.series in state.names
    least = state.normal.table["least"][state.names.index(found.series)] if known else -1.0
    return dataclasses.replace(found, low=max(found.low, 0.0)) if least >= 0 else found


def _words(found: anomaly.Anomaly, now_s: float, since_s: float) -> str:
    # Of counters the detector judges the growth of a tick, which has no unit of its own.
    show = f"{found.value:.4g}", f"{found.low:.4g} - {found.high:.4g}"
    if not is_counter(found.series):
        show = (
            words.value(found.series, found.value),
            words.span(found.series, found.low, found.high),
        )
    since = words.clock(since_s, now_s)
    return f"{words.subject(found.series)} is {show[0]}, expected {show[1]}; since {since}"
