"""The last half hour of one host, asked the way a page asks: now, how fast, and the shape of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from outrider.samples import Window, bot_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from outrider.store.base import SeriesStore

SPAN_S = 1800.0
Points = list[float | None]


@dataclass(frozen=True, slots=True)
class Recent:
    """Rows of the last half hour. ``at_s`` is the start of the newest tick, however old."""

    at_s: float | None
    window: Window
    _columns: dict[str, int] = field(default_factory=dict)
    _own: dict[str, list[str]] = field(default_factory=dict)

    def now(self, series: str) -> float | None:
        """Return the value at the newest tick; None when it is missing there or not finite."""
        column = self._column(series)
        return None if column is None else _finite(float(column[-1]))

    def rate(self, series: str, over_s: float) -> float | None:
        """Return how fast a counter grew per second; one that was reset began from nought."""
        column = self._column(series)
        if column is None:
            return None
        times = self.window.times_s
        keep = (times >= times[-1] - over_s - 1e-3) & np.isfinite(column)
        values, at = column[keep], times[keep]
        if len(values) < 2:  # noqa: PLR2004 - growth needs two readings
            return None
        steps = np.diff(values)
        grown = float(np.where(steps < 0, values[1:], steps).sum())
        return _finite(grown / float(at[-1] - at[0]))

    def points(self, series: str, *, end_s: float, step_s: float, count: int) -> Points:
        """Return ``count`` points that end at ``end_s``: the highest reading of each step.

        The highest, so that a spike never vanishes; None where nothing was measured.
        """
        column = self._column(series)
        if column is None:
            return [None] * count
        place = np.floor((self.window.times_s - (end_s - count * step_s)) / step_s + 1e-6)
        keep = (place >= 0) & (place < count) & np.isfinite(column)
        kept = np.full(count, -np.inf)
        np.maximum.at(kept, place[keep].astype(int), column[keep])
        return [_short(value) for value in kept.tolist()]

    def names(self) -> tuple[str, ...]:
        """Return the series that have a value, or a NaN that was measured, at the newest tick."""
        if not len(self.window.times_s):
            return ()
        newest: NDArray[np.bool_] = ~np.isnan(self.window.values[-1])
        return tuple(name for name, there in zip(self.window.names, newest, strict=True) if there)

    def bots(self) -> list[str]:
        """Return the bots that spoke at the newest tick."""
        return sorted({bot for name in self.names() if (bot := bot_of(name))})

    def own(self, bot: str) -> list[str]:
        """Return the series of a bot at the newest tick, without ``bot.NAME.`` before them."""
        if not self._own:
            for name in self.names():
                if (of := bot_of(name)) is not None:
                    self._own.setdefault(of, []).append(name.split(".", 2)[-1])
        return self._own.get(bot, [])

    def _column(self, series: str) -> NDArray[np.float64] | None:
        place = self._columns.get(series)
        return None if place is None else self.window.values[:, place]


def read(store: SeriesStore, host: str, now_s: float) -> Recent:
    """Return a host's last half hour; of a host silent for longer only since when it is."""
    window = store.window(host, now_s - SPAN_S, now_s + store.interval_s)
    if not len(window.times_s):
        last = store.last(host)
        return Recent(last.at_s if last else None, window)
    columns = {name: place for place, name in enumerate(window.names)}
    return Recent(float(window.times_s[-1]), window, columns)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(value: float) -> float | None:
    """Return four digits of a value: more can't be seen, and would triple the frame."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
