"""Rows of a host and of the fleet as signals side by side: what ``resources`` says of each series.

Counters become rates and means, ticks without a row become rows, so that a time in which nothing
could be stored is seen as such, and what was counted meanwhile is spread over it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outrider.analysis import resources
from outrider.samples import Window, bot_of, is_counter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from outrider.analysis.resources import Signal

OUTSIDE = "host.cpu.outside_cores"
MISSING_ROWS = "rows.missing"
# A longer gap is a time away, not a stall: what came before it is another story.
LONGEST_GAP_TICKS = 60
_STOPPED = 4.0  # a process that a signal stopped: see ``bot.{bot}.state`` in the catalogue
_ROUNDING = 1.5  # a tick that comes half a step late is not missing


@dataclass(frozen=True, slots=True)
class Column:
    """One signal: the series it is made of, the line of the table, and the part it speaks of."""

    series: str
    signal: Signal
    part: str
    words: str


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals side by side; ``values`` has shape ``[ticks, len(columns)]``, unknown is NaN.

    ``counts`` has the same shape: of how many calls a share is, and NaN for all else.
    """

    times_s: NDArray[np.float64]
    columns: tuple[Column, ...]
    values: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def step_s(self) -> float:
        """Return the usual time between two ticks."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class _Plan:
    columns: tuple[Column, ...]
    at: NDArray[np.intp]
    over: NDArray[np.intp]  # -1: none
    counters: NDArray[np.intp]


def of_windows(window: Window, fleet: Window | None = None) -> Signals:
    """Return the signals of a host, beside those of the fleet at the same ticks."""
    joined = _on_grid(_joined(window, fleet))
    plan = _plan(joined.names)
    times_s, values = joined.times_s, joined.values
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        passed_s = np.diff(times_s)[:, np.newaxis]
        grown = np.diff(values[:, plan.counters], axis=0)
        grown[~(grown >= 0)] = np.nan  # what counts has begun anew
        grown = np.vstack([np.full((1, grown.shape[1]), np.nan), grown])
        place = {int(series): column for column, series in enumerate(plan.counters)}
        made = np.empty((len(times_s), len(plan.columns)))
        counts = np.full_like(made, np.nan)
        for column, (line, at, over) in enumerate(
            zip(plan.columns, plan.at.tolist(), plan.over.tolist(), strict=True)
        ):
            match line.signal.form:
                case "rate":
                    made[0, column] = np.nan
                    made[1:, column] = grown[1:, place[at]] / passed_s[:, 0]
                case "mean":
                    below = grown[:, place[over]]
                    made[:, column] = np.where(below > 0, grown[:, place[at]] / below, np.nan)
                case "share":
                    whole = grown[:, place[at]] + grown[:, place[over]]
                    made[:, column] = np.where(whole > 0, grown[:, place[at]] / whole, np.nan)
                    counts[:, column] = whole
                case "stopped":
                    found = values[:, at]
                    made[:, column] = np.where(np.isnan(found), np.nan, found == _STOPPED)
                case _:
                    made[:, column] = values[:, at]
        made[~np.isfinite(made)] = np.nan
    return Signals(times_s, plan.columns, made, counts)


@functools.lru_cache(maxsize=64)
def _plan(names: tuple[str, ...]) -> _Plan:
    """Decide once for each set of names what is made of them."""
    places = {name: place for place, name in enumerate(names)}
    columns, at, over = [], [], []
    for name, place in places.items():
        if (found := resources.of_series(name)) is None:
            continue
        signal, inside = found
        other = places.get(resources.fill(signal.over, inside), -1) if signal.over else -1
        if signal.over and other < 0:
            continue
        part, words = (resources.fill(text, inside) for text in (signal.part, signal.words))
        columns.append(Column(name, signal, part, words))
        at.append(place)
        over.append(other)
    counted = {
        place
        for column, own, other in zip(columns, at, over, strict=True)
        if column.signal.form in ("rate", "mean", "share")
        for place in (own, other)
        if place >= 0
    }
    return _Plan(
        tuple(columns), np.array(at, np.intp), np.array(over, np.intp),
        np.array(sorted(counted), np.intp),
    )  # fmt: skip


def _joined(window: Window, fleet: Window | None) -> Window:
    """Put the fleet's row of each tick beside the host's; and what the host's bots do not use."""
    names, blocks = list(window.names), [window.values]
    places = {name: place for place, name in enumerate(names)}
    if {"host.cpu.used_ratio", "host.cpu.cores"} <= places.keys():
        by_bots = [
            place for name, place in places.items()
            if (bot := bot_of(name)) and name == f"bot.{bot}.cpu_ratio"
        ]  # fmt: skip
        used = window.values[:, places["host.cpu.used_ratio"]]
        cores = window.values[:, places["host.cpu.cores"]]
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is unknown
            bots = np.nansum(window.values[:, by_bots], axis=1)
            blocks.append(np.maximum(used * cores - bots, 0.0)[:, np.newaxis])
        names.append(OUTSIDE)
    if fleet is not None and len(fleet.times_s) and len(window.times_s):
        new = [place for place, name in enumerate(fleet.names) if name not in places]
        nearest = np.abs(window.times_s[:, np.newaxis] - fleet.times_s).argmin(axis=1)
        step_s = np.median(np.diff(window.times_s)) if len(window.times_s) > 1 else 1.0
        same = np.abs(fleet.times_s[nearest] - window.times_s) <= step_s / 2
        rows = fleet.values[nearest][:, new]
        blocks.append(np.where(same[:, np.newaxis], rows, np.nan))
        names += [fleet.names[place] for place in new]
    return Window(tuple(names), window.times_s, np.hstack(blocks))


def _on_grid(window: Window) -> Window:
    """Give every tick a row; in new ones counters lie between neighbours, all else is NaN."""
    times_s = window.times_s
    missing = np.zeros((len(times_s), 1))
    names = (*window.names, MISSING_ROWS)
    if len(times_s) < 3:  # noqa: PLR2004 - no step to compare with
        return Window(names, times_s, np.hstack([window.values, missing]))
    passed_s = np.diff(times_s)
    step_s = float(np.median(passed_s))
    late = np.flatnonzero(passed_s > _ROUNDING * step_s)
    if not len(late) or step_s <= 0:
        return Window(names, times_s, np.hstack([window.values, missing]))
    if long := [place for place in late if passed_s[place] > LONGEST_GAP_TICKS * step_s]:
        first = int(long[-1]) + 1
        return _on_grid(Window(window.names, times_s[first:], window.values[first:]))
    counters = np.array([is_counter(name) for name in window.names], dtype=bool)
    when, rows, absent = [times_s[:1]], [window.values[:1]], [missing[:1]]
    start = 1
    for place in late.tolist():
        when.append(times_s[start : place + 1])
        rows.append(window.values[start : place + 1])
        absent.append(missing[start : place + 1])
        count = round(float(passed_s[place]) / step_s) - 1
        shares = (np.arange(1, count + 1) / (count + 1))[:, np.newaxis]
        before, after = window.values[place], window.values[place + 1]
        with np.errstate(invalid="ignore", over="ignore"):
            rows.append(np.where(counters, before + (after - before) * shares, np.nan))
        when.append(times_s[place] + passed_s[place] * shares[:, 0])
        absent.append(np.ones((count, 1)))
        start = place + 1
    when.append(times_s[start:])
    rows.append(window.values[start:])
    absent.append(missing[start:])
    values = np.hstack([np.concatenate(rows), np.concatenate(absent)])
    return Window(names, np.concatenate(when), values)
