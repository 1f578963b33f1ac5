"""Durations of repeated real operations, and their quantiles."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def repeat(operation: Callable[[], object], count: int, *, budget_s: float) -> list[float]:
    """Run an operation up to ``count`` times and return the duration of each in seconds.

    Ends early, but not before the first, when ``budget_s`` is used up: a slow server is measured
    with fewer operations instead of holding the validation.
    """
    return each((operation for _ in range(count)), budget_s=budget_s)


def each(operations: Iterable[Callable[[], object]], *, budget_s: float) -> list[float]:
    """Run operations one after the other, as :func:`repeat` does."""
    took: list[float] = []
    clock = time.perf_counter
    until = clock() + budget_s
    for operation in operations:
        start = clock()
        operation()
        end = clock()
        took.append(end - start)
        if end >= until:
            break
    return took


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share does not exceed; None of no values.

    >>> quantile([4, 1, 3, 2], 0.5), quantile([4, 1, 3, 2], 0.99), quantile([], 0.5)
    (2, 4, None)
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
