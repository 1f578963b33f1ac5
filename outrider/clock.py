"""Time as Outrider counts it: a clock that tests can turn, and ticks.

A tick is ``floor(time / interval)``. It numbers rows, tasks and results, so that whatever is
delivered twice is stored once.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks of a clock."""

    def now(self) -> float:
        """Return wall time in seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return wall time in seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        return time.monotonic()


SYSTEM = SystemClock()


def tick_at(time_s: float, interval_s: float) -> int:
    """Return the number of the tick that ``time_s`` lies in.

    >>> tick_at(125.0, 10.0)
    12
    """
    return int(time_s // interval_s)


def tick_start(tick: int, interval_s: float) -> float:
    """Return the time in seconds at which ``tick`` begins.

    >>> tick_start(12, 10.0)
    120.0
    """
    return tick * interval_s
