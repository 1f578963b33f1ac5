"""What can run full on a host, how full it is, and when it will be: disk, memory, pools, queues."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import msgspec

from outrider.analysis.exhaustion import time_to_limit
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from outrider.samples import Values

    Past = Callable[[str], tuple[NDArray[np.float64], NDArray[np.float64]]]

# Series, what it is, its limit. A queue has no end: this is where the built-in alert begins.
_LIMITS = (
    (r"host\.disk\.(.+\.)?used_ratio", "disk", 1.0),
    (r"host\.memory\.used_ratio", "memory", 1.0),
    (r"host\.swap\.used_ratio", "swap", 1.0),
    (r"bot\..+\.db\.pool\.used_ratio", "connection pool", 1.0),
    (r"db\.server\.connections\.used_ratio", "database connections", 1.0),
    (r"redis\.memory\.used_ratio", "Redis memory", 1.0),
    (r"celery\.queue\..+\.length", "queue", 100.0),
)
_OF_BOT = "rss_bytes"


class Limit(msgspec.Struct, frozen=True):
    """Something that can run full. ``eta_s`` is None when it is not heading there.

    ``lower_s`` to ``upper_s`` holds the time with 90 %; ``upper_s`` is None when it has no end.
    """

    series: str
    what: str
    value: float
    limit: float
    used_ratio: float
    eta_s: float | None = None
    lower_s: float | None = None
    upper_s: float | None = None


def look(values: Values, past: Past, *, memory_limits: Mapping[str, int]) -> list[Limit]:
    """Return every limit of a host, the soonest met first, then the fullest.

    ``past`` returns times and values of a series, as far back as is known; ``memory_limits`` is in
    bytes, by bot. Costs some 3 ms a limit.
    """
    found = []
    for series, value in values.items():
        known = _limit(series, memory_limits)
        if known is None or not math.isfinite(value):
            continue
        what, limit = known
        times_s, before = past(series)
        ahead = time_to_limit(times_s, before, limit=limit) if len(times_s) else None
        share = round(value / limit, 4)
        if ahead is None:
            found.append(Limit(series, what, value, limit, share))
        else:
            upper_s = ahead.upper_s if math.isfinite(ahead.upper_s) else None
            found.append(
                Limit(series, what, value, limit, share, ahead.eta_s, ahead.lower_s, upper_s)
            )
    found.sort(key=lambda each: (math.inf if each.eta_s is None else each.eta_s, -each.used_ratio))
    return found


def _limit(series: str, memory_limits: Mapping[str, int]) -> tuple[str, float] | None:
    bot = bot_of(series)
    if bot and series == f"bot.{bot}.{_OF_BOT}":
        name, dash, number = bot.rpartition("-")
        base = name if dash and number.isdigit() else bot
        most = memory_limits.get(bot, memory_limits.get(base))
        return ("memory limit", float(most)) if most else None
    for pattern, what, limit in _LIMITS:
        if re.fullmatch(pattern, series):
            return what, limit
    return None
