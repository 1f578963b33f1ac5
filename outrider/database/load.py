"""How much each bot asks of its pool: checkouts a second, and how long each is held.

Read from the series ``bot.NAME.db.pool.checkouts_total``, ``.hold_seconds_total`` and
``.hold_squares_total``, from which comes how much the holds vary. The rate is
the 95th percentile of one-minute values: a plan for the mean has no room for the busy minute, one
for the greatest value follows every accident.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from outrider.samples import Window
    from outrider.settings import BotSettings

MINUTE_S = 60.0
# Fewer minutes say nothing of a percentile.
LEAST_MINUTES = 5
BUSY_QUANTILE = 0.95


@dataclass(frozen=True, slots=True)
class Load:
    """Of one instance: checkouts a second, the mean time that each is held, and how it varies.

    ``cv`` is the standard deviation of the holds over their mean; 1, that of exponential ones,
    where nobody counted it.
    """

    rate: float
    hold_s: float
    cv: float = 1.0


def of_bots(bots: Mapping[str, BotSettings], windows: Iterable[Window]) -> dict[str, Load]:
    """Return the load of each bot's busiest instance; bots that were seen too shortly are left out.

    A bot whose checkouts nobody counts is left out too.
    """
    found: dict[str, Load] = {}
    every = list(windows)
    for bot in bots:
        own = re.compile(rf"bot\.({re.escape(bot)}(?:-\d+)?)\.db\.pool\.checkouts_total")
        loads = [
            load
            for window in every
            for name in window.names
            if (match := own.fullmatch(name)) and (load := _of(window, match[1]))
        ]
        if loads:
            found[bot] = max(loads, key=lambda load: load.rate * load.hold_s)
    return found


def _of(window: Window, instance: str) -> Load | None:
    prefix = f"bot.{instance}.db.pool"
    try:
        held = window.column(f"{prefix}.hold_seconds_total")
    except KeyError:
        return None
    checkouts = growth(window.column(f"{prefix}.checkouts_total"))
    per_minute = rates(window.times_s, checkouts)
    if len(per_minute) < LEAST_MINUTES or not checkouts.sum():
        return None
    busy = float(np.quantile(per_minute, BUSY_QUANTILE))
    hold_s = float(growth(held).sum() / checkouts.sum())
    return Load(busy, hold_s, _cv(window, prefix, float(checkouts.sum()), hold_s))


def _cv(window: Window, prefix: str, checkouts: float, hold_s: float) -> float:
    try:
        squares = growth(window.column(f"{prefix}.hold_squares_total")).sum()
    except KeyError:
        return 1.0
    if not hold_s:
        return 0.0
    return math.sqrt(max(0.0, float(squares) / checkouts / hold_s**2 - 1.0))


def growth(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much a counter grew at each tick, shape ``[ticks]``; it may begin anew.

    >>> growth(np.array([5.0, 7.0, np.nan, 8.0, 1.0]))
    array([0., 2., 0., 1., 1.])
    """
    known = np.flatnonzero(np.isfinite(total))
    grown = np.zeros(len(total))
    if len(known) > 1:
        steps = np.diff(total[known])
        grown[known[1:]] = np.where(steps < 0, total[known[1:]], steps)
    return grown


def rates(times_s: NDArray[np.float64], grown: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rate of each whole minute, shape ``[minutes]``."""
    if len(times_s) < 2:  # noqa: PLR2004 - nothing lies between
        return np.zeros(0)
    minutes = ((times_s - times_s[0]) // MINUTE_S).astype(int)
    sums = np.bincount(minutes, weights=grown)
    whole = int((times_s[-1] - times_s[0] + np.median(np.diff(times_s))) // MINUTE_S)
    return sums[:whole] / MINUTE_S
