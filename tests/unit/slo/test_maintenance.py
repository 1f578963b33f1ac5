from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.errors import BadArgument
from outrider.slo import maintenance

if TYPE_CHECKING:
    import redis

NOW_S = 1_000_000.0


def plan(client: redis.Redis, start_s: float, end_s: float) -> maintenance.Maintenance:
    return maintenance.plan(
        client, start_s=start_s, end_s=end_s, reason="disks", author="ann", now_s=NOW_S
    )


def test_windows_are_kept_in_the_order_of_their_beginning(client: redis.Redis) -> None:
    later = plan(client, NOW_S + 500, NOW_S + 600)
    sooner = plan(client, NOW_S, NOW_S + 60)

    assert [sooner, later] == maintenance.planned(client)


def test_what_was_counted_stays_counted(client: redis.Redis) -> None:
    with pytest.raises(BadArgument, match="can't begin in the past"):
        plan(client, NOW_S - 3600, NOW_S)


@pytest.mark.parametrize("lasts_s", [0, -5, 32 * 86_400])
def test_a_window_has_a_sensible_length(client: redis.Redis, lasts_s: float) -> None:
    with pytest.raises(BadArgument, match="expected up to 31 days"):
        plan(client, NOW_S, NOW_S + lasts_s)


def test_what_runs_ends_and_what_lies_ahead_is_taken_back(client: redis.Redis) -> None:
    runs = plan(client, NOW_S, NOW_S + 600)
    ahead = plan(client, NOW_S + 500, NOW_S + 600)

    maintenance.end(client, runs.id, now_s=NOW_S + 100)
    maintenance.end(client, ahead.id, now_s=NOW_S + 100)

    (kept,) = maintenance.planned(client)
    assert (kept.id, kept.end_s) == (runs.id, NOW_S + 100)
    with pytest.raises(BadArgument, match="there is none"):
        maintenance.end(client, runs.id, now_s=NOW_S + 200)
