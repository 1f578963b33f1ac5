"""Five-minute summaries of raw series, kept for 30 days.

Each series becomes three: its least, greatest and mean value. They are rows like any other in a
tier of their own, so that every reader and the expiry work on them unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.clock import tick_at, tick_start
from outrider.store import keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    import redis

    from outrider.samples import Window
    from outrider.store.base import SeriesStore

STEP_S = 300.0
KEPT_S = 30 * 86_400.0
# How far back a summary that was missed (nobody ran) is still made.
CAUGHT_UP_S = 6 * 3600.0


def target(url: str, *, client: redis.Redis | None = None) -> RedisStore:
    """Return the store that keeps summaries."""
    return RedisStore(
        url, interval_s=STEP_S, retention_s=KEPT_S, client=client, tier=keys.SUMMARIES
    )


def advance(raw: SeriesStore, summaries: SeriesStore, host: str, now_s: float) -> int:
    """Write the summaries of every five minutes that are over. Return how many were new."""
    last_tick = tick_at(now_s, STEP_S)
    known = set(summaries.ticks(host, now_s - CAUGHT_UP_S - STEP_S, now_s))
    written = 0
    for tick in range(tick_at(now_s - CAUGHT_UP_S, STEP_S), last_tick):
        if tick in known:
            continue
        start_s = tick_start(tick, STEP_S)
        window = raw.window(host, start_s, start_s + STEP_S)
        if len(window.times_s):
            written += summaries.append(host, tick, summary(window))
    return written


def summary(window: Window) -> dict[str, float]:
    """Return least, greatest and mean of each series of a window that has a number in it."""
    values: dict[str, float] = {}
    for place, name in enumerate(window.names):
        column = window.values[:, place]
        finite = column[np.isfinite(column)]
        if len(finite):
            values[f"{name}|min"] = float(finite.min())
            values[f"{name}|max"] = float(finite.max())
            values[f"{name}|mean"] = float(finite.mean())
    return values
