"""Forecasts the demand of the next moment, in replicas' worth of work, and how wrong that may be.

The forecast is the newest value, plus a part of the newest change. How large a part is learned from
the load: near 1 where changes go on (a ramp), negative where they are taken back (noise, which the
forecast then smooths), 0 where they say nothing: an ARIMA(1,1,0) whose coefficient is least squares
over the last hundred observations. Of the rises that it missed two measures are kept: their usual
size over a minute knows that a burst is on; the largest, which fades over an hour, that bursts are
possible. What comes at fixed times of the hour or day is known from
:mod:`outrider.supervisor.rhythm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from outrider.supervisor.rhythm import Rhythm

_KEEP = 0.99  # a hundred observations decide on how changes go on
_MOST_BACK, _MOST_ON = -0.6, 1.0
_BURST_S, _RECORD_S = 60.0, 3600.0
HOUR_S, DAY_S = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """Demand expected, rises missed (usual, largest), and what the rhythm brings, if anything."""

    expected: float
    error: float
    record: float
    rhythm: float


class Demand:
    """Learns one observation at a time; nothing of the future is used."""

    def __init__(self) -> None:
        self._last = self._change = self._expected = 0.0
        self._products, self._squares = 0.0, 1e-9
        self._burst = self._record = 0.0
        self._rhythms = (Rhythm(HOUR_S, 30.0), Rhythm(DAY_S, 300.0))
        self._fresh = True

    def forget_level(self) -> None:
        """Start from the next observation, after a gap in which anything may have happened."""
        self._fresh = True

    def observe(self, at_s: float, demand: float, step_s: float, ahead_s: float) -> Outlook:
        """Learn the demand of the last ``step_s``; return that of the next, or of ``ahead_s``."""
        if self._fresh:
            self._fresh, self._last, self._change, self._expected = False, demand, 0.0, demand
        missed = max(0.0, demand - self._expected)  # a fall costs nobody a wait
        self._burst += -math.expm1(-step_s / _BURST_S) * (missed * missed - self._burst)
        self._record = max(missed, self._record * math.exp(-step_s / _RECORD_S))
        for rhythm in self._rhythms:
            rhythm.observe(at_s, demand, self._expected)
        change = demand - self._last
        self._products = _KEEP * self._products + change * self._change
        self._squares = _KEEP * self._squares + self._change**2
        goes_on = min(_MOST_ON, max(_MOST_BACK, self._products / self._squares))
        self._last, self._change = demand, change
        self._expected = max(0.0, demand + goes_on * change)
        steps = max(1.0, ahead_s / step_s)
        error, record = math.sqrt(steps * self._burst), math.sqrt(steps) * self._record
        further = max(0.0, demand + goes_on * change * steps)
        begin_s = at_s + step_s
        comes = (r.anticipated(begin_s, begin_s + ahead_s, further) for r in self._rhythms)
        return Outlook(further, error, record, max(comes))
