"""The prediction against the memory of a real server, over synthetic series as fleets have them.

``python -m tests.unit.store.test_prediction`` prints what the constants in
``outrider/store/prediction.py`` are made from.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from outrider.samples import Window
from outrider.settings import BotSettings, Retention, Settings
from outrider.store import aggregates, connection, prediction, tiers
from outrider.store.redis import RedisStore
from tests.servers.valkey import Server

if TYPE_CHECKING:
    import redis
    from numpy.typing import NDArray

    from outrider.store.base import SeriesStore

DAY_S = 86_400
START_S = 1_700_000_000 // (30 * DAY_S) * 30 * DAY_S  # a chunk of every tier begins here
TOLERANCE = 0.3


class Fleet:
    """Rows as a recording has them: a third never changes, half of the rest only grow."""

    def __init__(self, series: int, seed: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        kinds = ["constant"] * 7 + ["calls_total"] * 4 + ["cpu_s_total"] * 3
        kinds += ["rss_bytes", "queue"] + ["used_ratio"] * 2 + ["p95_s"] * 2
        self._kinds = [kinds[at % len(kinds)] for at in range(series)]
        self.names = tuple(f"bot.b{at // 20}.x{at}.{kind}" for at, kind in enumerate(self._kinds))
        self._size = 10 ** self._rng.uniform(0, 5, series)  # updates here, bytes there
        self._now = self._rng.uniform(0, 1000, series).round()

    def rows(self, count: int) -> NDArray[np.float64]:
        """Return the next rows, shape ``[count, series]``."""
        columns = []
        for at, kind in enumerate(self._kinds):
            size, now = self._size[at], self._now[at]
            noise = self._rng.standard_normal(count)
            match kind:
                case "constant":
                    column = np.full(count, now)
                case "calls_total":
                    column = now + self._rng.poisson(size, count).cumsum()
                case "cpu_s_total":
                    column = (now + np.abs(0.1 + 0.03 * noise).cumsum()).round(2)
                case "rss_bytes":
                    moved = (np.abs(noise) > 1.5) * (4096 * 8 * noise).astype(int)
                    column = (now + moved.cumsum()) // 4096 * 4096
                case "used_ratio":
                    column = np.clip(0.3 + 0.05 * noise, 0, 1).round(4)
                case "p95_s":
                    column = np.exp(noise / 2 - 4).round(6)
                case _:
                    column = self._rng.poisson(size / 1e5, count).astype(float)
            columns.append(column)
            self._now[at] = column[-1]
        return np.stack(columns, axis=1)


def used(client: redis.Redis) -> int:
    """Return the server's memory without its connections' buffers, and with all deletes done."""
    info = cast("dict[str, int]", client.info("memory"))
    while info["lazyfree_pending_objects"]:
        info = cast("dict[str, int]", client.info("memory"))
    return info["used_memory"] - info["mem_clients_normal"]


def fill(store: SeriesStore, fleet: Fleet, points: int, *, raw_rows: int) -> None:
    """Append rows, each made of ``raw_rows`` raw ones, and seal them as they come."""
    before: dict[str, float] = {}
    first = int(START_S // store.interval_s)
    for tick in range(first, first + points):
        rows = fleet.rows(raw_rows)
        row = dict(zip(fleet.names, rows[0].tolist(), strict=True))
        if raw_rows > 1:
            row = aggregates.of_rows(Window(fleet.names, np.arange(float(raw_rows)), rows), before)
            before |= {
                name.removesuffix(aggregates.LAST): value
                for name, value in row.items()
                if name.endswith(aggregates.LAST)
            }
        store.append("h", tick, row, replace=raw_rows > 1)
        if tick % 60 == 0:
            store.seal("h", (tick + 1) * store.interval_s)


def measured(
    client: redis.Redis, tier: int, series: int, points: int, *, over_keys: bool = False
) -> int:
    """Return the bytes that one tier of a host takes in the server."""
    stores = tiers.of_redis(RedisStore("", client=client), Retention(), client=client)
    # Raw rows of a bucket: ten are as good as thirty or 360 for what an aggregate looks like.
    raw_rows = 1 if tier == 0 else 10
    # Once for the server's buffers and scripts, which are no series.
    fill(stores.all()[tier], Fleet(series), 130, raw_rows=raw_rows)
    # Without SYNC Valkey empties itself behind our back, and its memory with it.
    client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
    before = used(client)
    fill(stores.all()[tier], Fleet(series), points, raw_rows=raw_rows)
    if over_keys:
        every = [client.memory_usage(key, samples=0) for key in client.scan_iter("or:ts*")]
        return sum(cast("list[int]", every))
    return used(client) - before


@pytest.mark.parametrize(
    ("tier", "series", "points"),
    [(0, 60, 2550), (0, 200, 1110), (1, 60, 2550), (1, 120, 1110), (2, 60, 1110), (2, 120, 1110)],
)
def test_the_memory_of_a_tier_is_as_predicted(
    tier: int, series: int, points: int, valkey_url: str
) -> None:
    with connection.connect(valkey_url) as client:
        # Key by key: what connections and scripts take moves by a third of this.
        found = measured(client, tier, series, points, over_keys=True)
    step_s = (10.0, 300.0, 3600.0)[tier]
    expected = prediction.tier_bytes(tiers.NAMES[tier], series, points * step_s, step_s)

    assert found == pytest.approx(expected, rel=TOLERANCE)


def test_the_whole_is_the_sum_of_its_tiers() -> None:
    found = prediction.predict(Settings(), series=1000)

    assert found.total_bytes == sum(found.by_tier.values())
    assert set(found.by_tier) == {"raw", "5m", "1h"}
    # What the same samples would take as plain float64 with their times.
    assert found.total_bytes < 1000 * 16 * (17_280 + 5 * 8_640 + 5 * 9_600) / 10


def test_more_series_and_longer_retention_take_more() -> None:
    small = prediction.predict(Settings(), series=100)
    large = prediction.predict(Settings(), series=200)
    longer = prediction.predict(Settings(retention=Retention(raw=4 * DAY_S)), series=100)

    assert large.total_bytes > 1.5 * small.total_bytes
    assert longer.by_tier["raw"] > 1.8 * small.by_tier["raw"]
    assert longer.by_tier["5m"] == small.by_tier["5m"]


def test_series_are_counted_from_the_settings() -> None:
    alone = prediction.series_of(Settings())
    bots = {
        "a": BotSettings(command=("true",), instances=3),
        "b": BotSettings(command=("true",), instances=0),
    }

    assert alone == prediction.HOST_SERIES + prediction.FLEET_SERIES
    assert prediction.series_of(Settings(bots=bots)) == alone + 3 * prediction.BOT_SERIES


if __name__ == "__main__":
    with Server() as server, connection.connect(server.url) as client:
        for tier, name in enumerate(tiers.NAMES):
            # Sums over keys: steadier than used_memory, where differences of few kB count.
            one, two, ranges, loose = (
                measured(client, tier, 100, points, over_keys=True) / 100
                for points in (721, 1441, 1801, 1831)
            )
            sys.stdout.write(
                f"{name}: {(two - one) / 720:.3f} B a point in chunks, "
                f"{(ranges - two) / 360:.3f} in ranges, {(loose - ranges) / 30:.1f} loose\n"
            )
