"""Rows of the time that Redis was away, from the frames that unsupervised bots kept meanwhile.

Such a bot leaves what it could not deliver in a list. As long as Redis was away no collector could
keep a row either, so that each frame fills the row of its tick: counters, gauges and sums as they
stood. Quantiles are not in it; what was called meanwhile is in those of the first tick after. A row
that is there stays: the store keeps the first of each tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from outrider import clock
from outrider.metrics import frame as frames
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from outrider.store.base import SeriesStore


def fill(
    client: redis.Redis, store: SeriesStore, host: str, *, interval_s: float, now_s: float
) -> int:
    """Keep the rows of ticks that have none, and return how many those were.

    Does nothing while frames still come in, since the row of a tick holds all bots of the host and
    is kept once. Safe to run twice, and to be killed in between: frames are let go of last.
    """
    key = keys.missed_frames(host)
    messages = cast("list[bytes]", client.lrange(key, 0, -1))
    found = list(_frames(messages))
    if any(frame.at_s > now_s - interval_s for frame in found):
        return 0
    rows = by_tick(found, interval_s)
    kept = sum(store.append(host, tick, rows[tick]) for tick in sorted(rows))
    if messages:
        client.ltrim(key, len(messages), -1)
    return kept


def by_tick(found: Iterable[frames.Frame], interval_s: float) -> dict[int, dict[str, float]]:
    """Return the series of each tick; of several frames of one bot in a tick the last counts."""
    rows: dict[int, dict[str, float]] = {}
    for frame in sorted(found, key=lambda frame: frame.at_s):
        end_s = clock.tick_start(tick := clock.tick_at(frame.at_s, interval_s), interval_s)
        values = frames.series(frame, now_s=max(frame.at_s, end_s))
        rows.setdefault(tick, {}).update(values | {f"bot.{frame.bot}.up": 1.0})
    return rows


def _frames(messages: Iterable[bytes]) -> Iterable[frames.Frame]:
    for message in messages:
        try:
            yield frames.decode(message)
        except ValueError:  # nonsense fills no gap
            continue
