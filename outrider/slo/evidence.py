"""What a handful of events proves: exact binomial bounds of an error ratio.

Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934). Wilson's
interval is shorter where there are many events, and wrong where there are few: of one failure in
one event it says "more than 27 % fail, surely" (95 %), the exact bound says 5 %. A bot with an
event an hour is decided by exactly these cases, and for many events both are the same.
"""

from __future__ import annotations

import functools
import math

_NEGLIGIBLE = 1e-15
_HALVINGS = 60


@functools.lru_cache(maxsize=65_536)
def tail(bad: int, total: int, ratio: float) -> float:
    """Return how likely ``bad`` failures or more of ``total`` are when ``ratio`` of all fail.

    Exact to twelve digits. Costs a step for each standard deviation or so.

    >>> round(tail(1, 1, 0.01), 5), round(tail(2, 10, 0.01), 5), tail(0, 5, 0.1)
    (0.01, 0.00427, 1.0)
    """
    if bad <= 0 or ratio >= 1:
        return 1.0
    if bad > total or ratio <= 0:
        return 0.0
    if bad <= total * ratio:  # the shorter side converges
        return 1.0 - _sum(bad - 1, total, ratio, step=-1)
    return _sum(bad, total, ratio, step=1)


def lower_bound(bad: int, total: int, doubt: float) -> float:
    """Return the error ratio that the true one exceeds, but for a chance of ``doubt``.

    >>> round(lower_bound(1, 1, 0.05), 3), round(lower_bound(8, 50, 0.05), 3)
    (0.05, 0.082)
    """
    if bad <= 0 or total <= 0:
        return 0.0
    low, high = 0.0, bad / total
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(bad, total, middle) < doubt else (low, middle)
    return low


def upper_bound(bad: int, total: int, doubt: float) -> float:
    """Return the error ratio that the true one stays below, but for a chance of ``doubt``.

    >>> round(upper_bound(0, 30, 0.05), 3), upper_bound(0, 0, 0.05)
    (0.095, 1.0)
    """
    return 1.0 - lower_bound(total - bad, total, doubt) if total > 0 else 1.0


def exceeds(bad: int, total: int, ratio: float, doubt: float) -> bool:
    """Tell whether the lower bound lies above ``ratio``, of events looked at after a failure.

    The failure that made us look proves nothing, as there is one in every look; it is left out. So
    one failure alone never exceeds anything.

    >>> exceeds(1, 1, 0.01, 0.05), exceeds(2, 2, 0.01, 0.05), exceeds(2, 10, 0.01, 0.05)
    (False, True, False)
    """
    return bad > 1 and tail(bad - 1, total - 1, ratio) < doubt


def _sum(first: int, total: int, ratio: float, *, step: int) -> float:
    """Add up the chances of ``first`` failures, and of one more (or less) each time."""
    odds = ratio / (1 - ratio)
    term = math.exp(
        math.lgamma(total + 1) - math.lgamma(first + 1) - math.lgamma(total - first + 1)
        + first * math.log(ratio) + (total - first) * math.log1p(-ratio)
    )  # fmt: skip
    added, many = term, first
    while 0 <= many + step <= total and term > added * _NEGLIGIBLE:
        term *= (total - many) / (many + 1) * odds if step > 0 else many / (total - many + 1) / odds
        many += step
        added += term
    return min(1.0, added)
