from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.errors import BadArgument
from outrider.settings import Settings
from outrider.store import upkeep
from outrider.store.query import query
from outrider.tasks import context, maintain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.tasks.context import Context

DAY_S = 86_400
START_S = 1_700_000_000 // DAY_S * DAY_S


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock(START_S + 7300.0)


@pytest.fixture
def ctx(valkey_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """What tasks see, over two hours of rows of two hosts."""
    made = context.build(Settings(), valkey_url, clock)
    monkeypatch.setattr(context, "current", lambda: made)
    for host in ("alpha", "beta"):
        for number in range(720):
            made.store.append(host, START_S // 10 + number, {"a": float(number)})
    yield made
    made.redis.close()


def test_sealing_rolls_every_host_up_and_may_run_twice(ctx: Context) -> None:
    first = maintain.seal.run()
    band = query(ctx.tiers, "beta", "a", START_S, START_S + 7200, 24)

    assert first["busy"] == []
    assert {"alpha", "beta"} == set(first["hosts"])
    assert first["hosts"]["beta"]["sealed"] > 0
    assert (band.tier, band.high.max()) == ("5m", 719.0)
    assert [done["sealed"] for done in maintain.seal.run()["hosts"].values()] == [0, 0]


def test_a_host_that_another_worker_is_at_is_left_to_it(ctx: Context) -> None:
    with upkeep.locked(ctx.redis, "alpha"):
        done = maintain.seal.run()

    assert done["busy"] == ["alpha"]
    assert set(done["hosts"]) == {"beta"}


def test_missing_roll_ups_are_made(ctx: Context) -> None:
    assert maintain.rollup.run()["hosts"]["alpha"]["buckets"] == 24
    assert maintain.rollup.run()["hosts"]["alpha"]["buckets"] == 0


@pytest.mark.parametrize("since_s", [0.0, -1.0, 200_000.0])
def test_a_time_without_raw_rows_is_refused(ctx: Context, since_s: float) -> None:
    with pytest.raises(BadArgument, match="since_s"):
        maintain.rollup.run(since_s)


def test_what_is_too_old_is_forgotten_tier_by_tier(ctx: Context, clock: Clock) -> None:
    maintain.seal.run()
    clock.now_s = START_S + 5.0 * DAY_S
    assert maintain.expire.run()["hosts"]["alpha"]["raw"] > 0

    assert ctx.store.hosts() == []
    assert ctx.tiers.five_minutes.hosts() == ["alpha", "beta"]
    clock.now_s = START_S + 500.0 * DAY_S
    maintain.expire.run()
    assert maintain.expire.run() == {"hosts": {}, "busy": []}
