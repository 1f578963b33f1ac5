"""A small market whose prices really wander: a random walk that is a pure function of time.

Paul Lévy's construction of Brownian motion: fix both ends of a long span, then halve it again and
again, each midpoint being the mean of its ends plus a Gaussian of the right width. Chosen over
adding up steps because a price can then be asked for at any moment, at the cost of one draw a
level, and a restarted server goes on with the same walk instead of jumping.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass

LEVELS = 22  # a span of 2**22 seconds, 48 days, at whose ends every price is back at its base
DEPTH = 10  # price levels on each side of a book
PRICES = {"OTR-EUR": 41.0, "FLX-EUR": 3.2, "KIT-EUR": 870.0, "WREN-EUR": 0.085}
# Relative change in one second: about 0.9 % an hour.
SIGMA = 0.00015


@dataclass(frozen=True, slots=True)
class Book:
    """Bids and asks as (price, size), the best first."""

    symbol: str
    at_s: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


def mid(seed: int, symbol: str, second: int) -> float:
    """Return the price around which a book stands."""
    span, offset = divmod(second, 1 << LEVELS)
    return PRICES[symbol] * math.exp(SIGMA * _walk(seed, f"{symbol}:{span}", offset))


def book(seed: int, symbol: str, at_s: float) -> Book:
    """Return the order book of one second."""
    second = int(at_s)
    middle = mid(seed, symbol, second)
    draw = random.Random(f"{seed}:{symbol}:{second}")
    tick = 10.0 ** math.floor(math.log10(middle) - 3)
    sides: list[tuple[tuple[float, float], ...]] = []
    for sign in (-1, 1):
        distances = [(level + draw.uniform(0.3, 0.9)) * tick for level in range(DEPTH)]
        sides.append(
            tuple(
                (round(middle + sign * away, 8), round(draw.expovariate(1 / 40) + 0.1, 3))
                for away in distances
            )
        )
    return Book(symbol, second, bids=sides[0], asks=sides[1])


def _walk(seed: int, name: str, offset: int) -> float:
    """Return the walk's value in the span, 0 at both its ends."""
    left, right = 0, 1 << LEVELS
    at_left = at_right = 0.0
    while offset not in (left, right):
        middle = (left + right) // 2
        at_middle = (at_left + at_right) / 2 + math.sqrt((right - left) / 4) * _node(
            seed, name, middle
        )
        if offset < middle:
            right, at_right = middle, at_middle
        else:
            left, at_left = middle, at_middle
    return at_left if offset == left else at_right


@functools.lru_cache(maxsize=4096)
def _node(seed: int, name: str, middle: int) -> float:
    return random.Random(f"{seed}:{name}:{middle}").gauss(0.0, 1.0)
