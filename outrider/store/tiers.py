"""The three tiers that a series is kept in: raw rows, five minutes, hours.

A tier is a store of rows like any other, with keys, a step and a retention of its own. So the
coarser ones are appended to, compressed, read and expired by the code that does it for raw rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.store import keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    import redis

    from outrider.settings import Retention
    from outrider.store.base import SeriesStore

FIVE_MINUTES_S = 300.0
HOUR_S = 3600.0
RAW, FIVE_MINUTES, HOURS = "raw", "5m", "1h"
NAMES = (RAW, FIVE_MINUTES, HOURS)


@dataclass(frozen=True, slots=True)
class Tiers:
    """The stores of one fleet, from fine to coarse."""

    raw: SeriesStore
    five_minutes: SeriesStore
    hours: SeriesStore

    def named(self, name: str) -> SeriesStore:
        """Return a tier by one of ``NAMES``."""
        return self.all()[NAMES.index(name)]

    def all(self) -> tuple[SeriesStore, SeriesStore, SeriesStore]:
        """Return the tiers from fine to coarse."""
        return self.raw, self.five_minutes, self.hours


def of_redis(
    raw: RedisStore, retention: Retention, *, url: str = "", client: redis.Redis | None = None
) -> Tiers:
    """Return the tiers over ``raw``, in the same server. Nothing is sent."""
    return Tiers(
        raw,
        RedisStore(
            url,
            interval_s=FIVE_MINUTES_S,
            retention_s=retention.five_minutes,
            client=client,
            tier=keys.SUMMARIES,
        ),
        RedisStore(
            url,
            interval_s=HOUR_S,
            retention_s=retention.hours,
            client=client,
            tier=keys.HOURS,
        ),
    )
