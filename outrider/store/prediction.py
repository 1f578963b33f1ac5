"""How much memory series will take in the server, from what was measured.

The constants are the output of ``python -m tests.unit.store.test_prediction``: synthetic series of
the mix that a recording of the example fleet has, through the real store into a real Valkey. The
tests there hold the prediction to a server's memory within 30 %. Series that are all noise take up
to three times as much, a fleet that mostly idles half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.store.tiers import FIVE_MINUTES, FIVE_MINUTES_S, HOUR_S, HOURS, RAW

if TYPE_CHECKING:
    from outrider.settings import Settings

# Series that collectors give for a host, for a bot's process that uses SDK and integrations, as
# those of the example fleet do on average, and for what no host owns.
HOST_SERIES = 65
BOT_SERIES = 80
FLEET_SERIES = 110
# Of a chunk that is being filled, on average: points in ranges of 60, and loose ones.
_IN_RANGES, _LOOSE = 360, 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes a series and point, all columns of it together."""

    in_chunk: float
    in_range: float
    loose: float


RAW_COST = Cost(in_chunk=0.63, in_range=0.99, loose=8.6)
# All columns of a bucket: least, greatest, sum, count and last; or increase, count and last.
BUCKET_COST = Cost(in_chunk=2.27, in_range=3.33, loose=35.1)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Bytes in the server for ``series`` series, once each tier is full."""

    series: int
    by_tier: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Return the sum over the tiers."""
        return sum(self.by_tier.values())


def predict(settings: Settings, *, series: int | None = None) -> Prediction:
    """Return the memory of a fleet's series; their number from the settings when not given."""
    count = series_of(settings) if series is None else series
    kept = settings.retention
    tiers = (
        (RAW, kept.raw, settings.interval_s),
        (FIVE_MINUTES, kept.five_minutes, FIVE_MINUTES_S),
        (HOURS, kept.hours, HOUR_S),
    )
    by_tier = {name: tier_bytes(name, count, kept_s, step_s) for name, kept_s, step_s in tiers}
    return Prediction(count, by_tier)


def series_of(settings: Settings) -> int:
    """Return about how many series this host and its bots will have."""
    instances = sum(bot.instances for bot in settings.bots.values())
    return HOST_SERIES + FLEET_SERIES + BOT_SERIES * instances


def tier_bytes(tier: str, series: int, kept_s: float, step_s: float) -> int:
    """Return the bytes of one tier that holds ``kept_s`` of points.

    >>> tier_bytes("raw", 100, 172_800.0, 10.0)
    1125510
    """
    cost = RAW_COST if tier == RAW else BUCKET_COST
    points = kept_s / step_s
    loose = min(points, _LOOSE)
    in_ranges = min(points - loose, _IN_RANGES)
    in_chunks = points - loose - in_ranges
    each = in_chunks * cost.in_chunk + in_ranges * cost.in_range + loose * cost.loose
    return round(series * each)
