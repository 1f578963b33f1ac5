"""Learns how often forecasts come true, from all of them: loaded or not, each one is followed.

A forecast falls in a *cell* of its like: the kind of reason, how sure it seemed, how much it rests
on. A cell's chance is its record, smoothed by a few forecasts' weight towards that of a broader
cell, and that towards the first guess, so that a new key borrows from its class and a flattering
formula is soon corrected. Both outcomes are
counted when the time to live is over: counting a success at once and a failure later flatters
every forecast while traffic grows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from outrider.cache.price import Price

_GUESS_WEIGHT = 4.0
_MOST_CELLS = 4096
_MOST_TRIALS = 2000.0  # older ones fade


class Cell:
    """The record of forecasts that are alike."""

    __slots__ = ("broader", "early", "trials", "used")

    def __init__(self, broader: Cell | None = None) -> None:
        self.broader = broader
        self.used = 0.0
        self.trials = 0.0
        self.early = 0.0  # how early in all, in times to live

    def chance(self, guess: float) -> float:
        """Return how likely a forecast of this cell is to come true."""
        if self.broader is not None:
            guess = self.broader.chance(guess)
        return (self.used + _GUESS_WEIGHT * guess) / (self.trials + _GUESS_WEIGHT)

    @property
    def shift(self) -> float:
        """How early forecasts that came true were, in times to live: what being early costs."""
        return self.early / self.used if self.used else 0.0

    def count(self, *, used: bool, early: float = 0.0) -> None:
        """Add an outcome."""
        if self.trials >= _MOST_TRIALS:
            self.trials /= 2
            self.used /= 2
            self.early /= 2
        self.trials += 1
        self.used += used
        self.early += early
        if self.broader is not None:
            self.broader.count(used=used, early=early)


class Forecast:
    """One expectation that a key is used before ``ends_s``, and whether it was."""

    __slots__ = ("cell", "cost", "ends_s", "used", "used_s", "worth")

    def __init__(self, cell: Cell, worth: float, ends_s: float, cost: float) -> None:
        self.cell = cell
        self.worth = worth
        self.ends_s = ends_s
        self.cost = cost  # extra loads if it comes true; one if it does not
        self.used = False
        self.used_s = ends_s


class Calibration:
    """The cells of one namespace, and the forecasts whose end is awaited."""

    __slots__ = ("_awaited", "_cells", "_ttl_s")

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._cells: dict[Hashable, Cell] = {}
        self._awaited: deque[Forecast] = deque()

    def __len__(self) -> int:
        return len(self._cells)

    def cell(self, like: Hashable, broadly: Hashable = None) -> Cell:
        """Return the cell of all forecasts that are like this one; ``broadly`` names a broader."""
        found = self._cells.get(like)
        if found is None:
            if len(self._cells) >= _MOST_CELLS:
                del self._cells[next(iter(self._cells))]
            found = Cell(None if broadly is None else self.cell(broadly))
            self._cells[like] = found
        return found

    def follow(self, forecast: Forecast) -> None:
        """Await the end of a forecast. They end in the order in which they are given."""
        self._awaited.append(forecast)

    def settle(self, now_s: float, price: Price) -> None:
        """Count the forecasts that have ended."""
        awaited = self._awaited
        while awaited and awaited[0].ends_s <= now_s:
            ended = awaited.popleft()
            early = 0.0
            if ended.used:  # a use that was told of late may lie before the forecast
                early = max(0.0, 1.0 - (ended.ends_s - ended.used_s) / self._ttl_s)
            ended.cell.count(used=ended.used, early=early)
            price.cost(ended.worth, ended.cost if ended.used else 1.0)
