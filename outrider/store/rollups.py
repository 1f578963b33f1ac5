"""Makes the five-minute and the hourly rows of a range of raw rows, while it is being sealed.

``RedisStore.seal(..., before_commit=...)`` names the range that it is about to commit; every bucket
that the range touches is made anew from the raw rows and put in the place of what stood there. So
it may run twice, a crash in between changes nothing, and a row that came late, or a bucket that
was cut in two, is right as soon as it is sealed. Nothing remembers how far roll-ups have come.

A counter's step into a bucket comes from the last sample before it: from the raw rows of the five
minutes before, else (after a gap) from the last bucket that has the counter. Therefore a late row
changes the next bucket too, which is made again as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.clock import tick_at, tick_start
from outrider.samples import Window, is_counter
from outrider.store import aggregates, rows
from outrider.store.tiers import FIVE_MINUTES_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.store.base import SeriesStore
    from outrider.store.tiers import Tiers

# How long a counter may be away and its growth meanwhile still be counted; looked up in two steps,
# since a day of five minutes costs as much to read as a month of hours.
GAP_S = 86_400.0
LONG_GAP_S = 30 * 86_400.0


def roll_up(tiers: Tiers, host: str, start_s: float, end_s: float) -> int:
    """Make every bucket anew that ``[start_s, end_s)`` touches. Return how many have rows.

    Buckets whose raw rows are gone stay as they are. Safe to repeat.
    """
    first, until = tick_at(start_s, FIVE_MINUTES_S), _past(end_s, FIVE_MINUTES_S)
    made, seen = _five_minutes(tiers, host, range(first, until))
    if made:
        made += _following(tiers, host, until, seen)
        _hours(tiers, host, made)
    return len(made)


def heal(tiers: Tiers, host: str, now_s: float, *, since_s: float) -> int:
    """Make the buckets that have raw rows since then, are over, and are missing. Return how many.

    Sealing leaves none out; a server that was set back to an older state may have.
    """
    over_s = tick_start(tick_at(now_s - tiers.raw.interval_s, FIVE_MINUTES_S), FIVE_MINUTES_S)
    there = set(tiers.five_minutes.ticks(host, since_s - FIVE_MINUTES_S, over_s))
    interval_s = tiers.raw.interval_s
    needed = {
        tick_at(tick * interval_s, FIVE_MINUTES_S)
        for tick in tiers.raw.ticks(host, since_s, over_s)
    }
    missing = sorted(needed - there)
    for tick in missing:
        at_s = tick_start(tick, FIVE_MINUTES_S)
        roll_up(tiers, host, at_s, at_s + FIVE_MINUTES_S)
    return len(missing)


def _five_minutes(tiers: Tiers, host: str, ticks: range) -> tuple[list[int], dict[str, float]]:
    """Make buckets in time order. Return those with rows, and the last value of each counter."""
    start_s, end_s = ticks.start * FIVE_MINUTES_S, ticks.stop * FIVE_MINUTES_S
    window = tiers.raw.window(host, start_s - FIVE_MINUTES_S, end_s)
    lasts = _lasts(rows.between(window, start_s - FIVE_MINUTES_S, start_s))
    looked_up: set[str] = set()
    made: list[int] = []
    seen: dict[str, float] = {}
    for tick in ticks:
        at_s = tick_start(tick, FIVE_MINUTES_S)
        part = _without_absent(rows.between(window, at_s, at_s + FIVE_MINUTES_S))
        if not len(part.times_s):
            continue
        unknown = {n for n in part.names if is_counter(n)} - lasts.keys() - looked_up
        if unknown:
            lasts |= _before(tiers, host, at_s, unknown)
            looked_up |= unknown
        tiers.five_minutes.append(host, tick, aggregates.of_rows(part, lasts), replace=True)
        made.append(tick)
        new = _lasts(part)
        lasts |= new
        seen |= new
    return made, seen


def _following(tiers: Tiers, host: str, until: int, counters: Iterable[str]) -> list[int]:
    """Make anew the buckets that the given counters enter next after ``until``."""
    left, made = set(counters), []
    start_s = tick_start(until, FIVE_MINUTES_S)
    for tick in tiers.five_minutes.ticks(host, start_s, start_s + GAP_S):
        if not left:
            break
        at_s = tick_start(tick, FIVE_MINUTES_S)
        row = tiers.five_minutes.window(host, at_s, at_s + FIVE_MINUTES_S)
        entered = left & set(aggregates.series_of(_without_absent(row).names))
        if entered:
            left -= entered
            made += _five_minutes(tiers, host, range(tick, tick + 1))[0]
    return made


def _hours(tiers: Tiers, host: str, made: list[int]) -> None:
    """Make the hours of five-minute buckets from all their buckets."""
    for hour in sorted({tick_at(tick_start(tick, FIVE_MINUTES_S), HOUR_S) for tick in made}):
        at_s = tick_start(hour, HOUR_S)
        window = tiers.five_minutes.window(host, at_s, at_s + HOUR_S)
        tiers.hours.append(host, hour, aggregates.of_buckets(window), replace=True)


def _before(tiers: Tiers, host: str, start_s: float, counters: set[str]) -> dict[str, float]:
    """Return the last values that counters had in the buckets before ``start_s``."""
    found: dict[str, float] = {}
    for store, reach_s in ((tiers.five_minutes, GAP_S), (tiers.hours, LONG_GAP_S)):
        # An hour that is still going on holds what came after ``start_s``.
        until_s = tick_start(tick_at(start_s, store.interval_s), store.interval_s)
        found |= _last_columns(store, host, (until_s - reach_s, until_s), counters - found.keys())
    return found


def _last_columns(
    store: SeriesStore, host: str, span_s: tuple[float, float], counters: set[str]
) -> dict[str, float]:
    if not counters or not store.ticks(host, *span_s):
        return {}
    window = store.window(host, *span_s)
    wanted = [name for name in counters if name + aggregates.LAST in window.names]
    columns = (window.column(name + aggregates.LAST) for name in wanted)
    return {
        name: float(numbers[-1])
        for name, column in zip(wanted, columns, strict=True)
        if len(numbers := column[~np.isnan(column)])
    }


def _lasts(window: Window) -> dict[str, float]:
    """Return the last value of each counter of a raw window."""
    found = {}
    for at, name in enumerate(window.names):
        if is_counter(name):
            column = window.values[:, at]
            numbers = column[np.isfinite(column)]
            if len(numbers):
                found[name] = float(numbers[-1])
    return found


def _without_absent(window: Window) -> Window:
    """Return a window without the series that have no sample in it."""
    there = (~np.isnan(window.values)).any(axis=0)
    names = tuple(window.names[at] for at in np.flatnonzero(there))
    return Window(names, window.times_s, window.values[:, there])


def _past(end_s: float, step_s: float) -> int:
    """Return the first tick that does not begin before ``end_s``."""
    tick = tick_at(end_s, step_s)
    return tick if tick_start(tick, step_s) >= end_s else tick + 1
