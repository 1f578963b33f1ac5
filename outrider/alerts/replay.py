"""What rules would have done with history: the same machine, over stored rows.

The analysis of that time is not kept; what rules ask of it is computed anew from the rows that it
would have had.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from outrider.alerts import frame
from outrider.alerts.engine import Engine
from outrider.analysis import limits, odd, spells
from outrider.analysis.anomaly_bank import AnomalyBank
from outrider.analysis.readings import Readings
from outrider.clock import tick_at
from outrider.samples import is_counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.alerts.expression import SignalKind
    from outrider.alerts.rules import Rule
    from outrider.alerts.state import Alert, Transition
    from outrider.store.base import SeriesStore

# Rows are read by the hour, so that weeks fit into memory.
BLOCK_S = 3600.0
PARTS = 60
# A detector must have learned a while before it speaks; more than a day changes little.
_LEARNED_S = 86_400.0
# As the tasks of the analysis do it.
_OUTLOOK_S, _OUTLOOK_EVERY_S = 6 * 3600.0, 300.0


@dataclass(slots=True)
class Replay:
    """What happened on a host. ``peaks`` are an instance's greatest values in parts of the time."""

    host: str
    start_s: float
    end_s: float
    ticks: int = 0
    changes: list[Transition] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)
    peaks: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def replay(
    store: SeriesStore,
    rule: Rule,
    host: str,
    start_s: float,
    end_s: float,
    *,
    memory_limits: Mapping[str, int] | None = None,
) -> Replay:
    """Return what a rule would have done on a host. Some 10,000 rows a second; blocks."""
    engine = Engine([rule])
    found = Replay(host, start_s, end_s)
    for row in _rows(store, host, rule, (start_s, end_s), memory_limits or {}):
        tick = tick_at(row.at_s + store.interval_s / 2, store.interval_s)
        found.alerts, changes = engine.evaluate(found.alerts, row, host=host, tick=tick)
        found.changes += changes
        found.ticks += 1
        part = min(PARTS - 1, int((row.at_s - start_s) / (end_s - start_s) * PARTS))
        for instance, value in engine.shown(rule, row, host).items():
            peaks = found.peaks.setdefault(instance, np.full(PARTS, np.nan))
            peaks[part] = np.fmax(peaks[part], value)
    return found


def _rows(
    store: SeriesStore,
    host: str,
    rule: Rule,
    span_s: tuple[float, float],
    memory_limits: Mapping[str, int],
) -> Iterator[frame.Frame]:
    start_s, end_s = span_s
    before_s = frame.reach_s([rule])
    outlook = _outlook(store, host, memory_limits)
    oddness = _oddness(store, host, start_s, end_s)
    for block_s in np.arange(start_s, end_s, BLOCK_S).tolist():
        until_s = min(block_s + BLOCK_S, end_s)
        window = store.window(host, block_s - before_s, until_s)
        for at in np.flatnonzero(window.times_s >= block_s).tolist():
            signals = _signals(float(window.times_s[at]), oddness, outlook)
            yield frame.Frame(
                window, at, store.interval_s, functools.partial(store.read, host), signals
            )


def _signals(
    at_s: float, oddness: Callable[[str, float], float], outlook: Callable[[str, int], float]
) -> Callable[[SignalKind, str], float]:
    def signals(kind: SignalKind, series: str) -> float:
        if kind == "anomaly":
            return oddness(series, at_s)
        part, age_s = divmod(at_s, _OUTLOOK_EVERY_S)
        return max(0.0, outlook(series, int(part)) - age_s)

    return signals


def _oddness(
    store: SeriesStore, host: str, start_s: float, end_s: float
) -> Callable[[str, float], float]:
    """Return a function for how odd a series was; each is learned once, from a day before on."""

    @functools.cache
    def of(series: str) -> dict[float, float]:
        times_s, values = store.read(host, series, start_s - _LEARNED_S, end_s)
        counters = np.array([is_counter(series)])
        bank, readings = AnomalyBank(1, counters=counters.tolist()), Readings(1)
        present: dict[str, spells.Spell] = {}
        found = {}
        for at_s, value in zip(times_s.tolist(), values.tolist(), strict=True):
            row = np.array([value])
            judged = readings.update(at_s, row, counters)
            spells.follow(present, at_s, judged, bank.update(at_s, row), names=[series], bank=bank)
            spell = present.get(series)
            if spell and not spell.calm and odd.matters(series, spell):
                found[at_s] = spell.score
        return found

    return lambda series, at_s: of(series).get(at_s, 0.0)


def _outlook(
    store: SeriesStore, host: str, memory_limits: Mapping[str, int]
) -> Callable[[str, int], float]:
    @functools.lru_cache(maxsize=4096)
    def outlook(series: str, part: int) -> float:
        end_s = part * _OUTLOOK_EVERY_S
        times_s, values = store.read(host, series, end_s - _OUTLOOK_S, end_s)
        newest = {series: float(values[-1])} if len(values) else {}
        known = limits.look(newest, lambda _: (times_s, values), memory_limits=memory_limits)
        if not known:
            return float("nan")
        return float("inf") if known[0].eta_s is None else known[0].eta_s

    return outlook


def firings(changes: Sequence[Transition], end_s: float) -> list[tuple[Transition, float]]:
    """Return each time that something fired, and how long, until resolved or the end."""
    found: list[tuple[Transition, float]] = []
    began: dict[str, Transition] = {}
    for change in changes:
        if change.to == "firing":
            began.setdefault(change.instance, change)
        elif change.to in ("resolved", "error") and change.instance in began:
            first = began.pop(change.instance)
            found.append((first, change.at_s - first.at_s))
    found += [(first, end_s - first.at_s) for first in began.values()]
    return sorted(found, key=lambda each: each[0].at_s)
