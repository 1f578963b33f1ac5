from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.database.pools import FleetTooLarge, Member, plan
from outrider.errors import BadArgument

weights = st.floats(0.001, 1e6)
fleets = st.lists(st.builds(Member, st.just(""), st.integers(0, 12), weights), max_size=20).map(
    lambda bots: [
        Member(f"bot{number}", bot.instances, bot.weight) for number, bot in enumerate(bots)
    ]
)
limits = st.integers(1, 400)
caps = st.none() | st.integers(1, 60)


@given(fleets, limits, st.integers(0, 50), caps)
def test_the_sum_never_exceeds_the_wall_and_every_bot_gets_one(
    fleet: list[Member], limit: int, reserved: int, most: int | None
) -> None:
    limit += reserved
    needed = sum(bot.instances for bot in fleet)
    needed += 1 if needed else 0
    if needed > limit - reserved:
        with pytest.raises(FleetTooLarge) as caught:
            plan(fleet, max_connections=limit, reserved=reserved, most=most)
        assert (needed, limit - reserved) == (caught.value.needed, caught.value.wall)
        return
    found = plan(fleet, max_connections=limit, reserved=reserved, most=most)
    sizes = {share.name: share.size for share in found.shares}
    running = [bot for bot in fleet if bot.instances]
    worst = sum(bot.instances * sizes[bot.name] for bot in fleet)
    worst += max((sizes[bot.name] for bot in running), default=0)
    assert worst == found.total <= found.wall == limit - reserved
    assert set(sizes) == {bot.name for bot in fleet}
    assert all(1 <= size <= (most or math.inf) for size in sizes.values())


@given(fleets.filter(lambda fleet: any(bot.instances for bot in fleet)), limits, caps)
def test_nothing_is_left_that_one_more_connection_each_could_use(
    fleet: list[Member], limit: int, most: int | None
) -> None:
    limit += sum(bot.instances for bot in fleet) + 1
    found = plan(fleet, max_connections=limit, most=most)

    for share in found.shares:
        if share.instances and (most is None or share.size < most):
            one_more = share.instances + max(0, share.size + 1 - found.surge)
            assert found.total + one_more > found.wall


@given(fleets, limits)
def test_the_heavier_of_two_bots_alike_never_gets_less(fleet: list[Member], limit: int) -> None:
    limit += sum(bot.instances for bot in fleet) + 1
    found = {share.name: share for share in plan(fleet, max_connections=limit).shares}

    for one in fleet:
        for other in fleet:
            if one.instances == other.instances and one.weight > other.weight:
                assert found[one.name].size >= found[other.name].size


def test_eight_bots_use_a_stock_server_up_with_room_for_one_that_restarts() -> None:
    found = plan([Member(f"bot{number}") for number in range(8)], max_connections=100, reserved=3)
    sizes = sorted(share.size for share in found.shares)

    assert sizes == [10, 10, 11, 11, 11, 11, 11, 11]
    assert (found.surge, found.total, found.wall) == (11, 97, 97)


def test_a_fleet_of_equals_is_shared_equally() -> None:
    fleet = [Member(f"bot{number}", instances=2) for number in range(3)]

    assert [share.size for share in plan(fleet, max_connections=28).shares] == [4, 4, 4]


def test_a_fleet_that_does_not_fit_is_told_the_numbers_and_the_remedy() -> None:
    with pytest.raises(FleetTooLarge) as caught:
        plan([Member("canary", 30)], max_connections=20, reserved=3)

    assert (caught.value.needed, caught.value.wall) == (31, 17)
    assert "set max_connections to 34 or more" in str(caught.value)
    assert "run 14 fewer instances" in str(caught.value)
    plan([Member("canary", 30)], max_connections=34, reserved=3)
    plan([Member("canary", 30 - 14)], max_connections=20, reserved=3)


def test_size_of_a_bot_that_is_not_in_the_plan_names_those_that_are() -> None:
    found = plan([Member("canary")], max_connections=10)

    assert found.size_of("canary") == 5
    with pytest.raises(BadArgument, match="it has canary"):
        found.size_of("owl")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (Member("canary", -1), "instances = -1"),
        (Member("canary", 1, 0.0), "weight = 0"),
        (Member("canary", 1, math.nan), "weight = nan"),
        (Member("canary", 1, math.inf), "weight = inf"),
    ],
)
def test_a_bot_with_an_impossible_number_is_refused(member: Member, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        plan([member], max_connections=10)


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(BadArgument, match="reserved = 10"):
        plan([], max_connections=10, reserved=10)
    with pytest.raises(BadArgument, match="most = 0"):
        plan([], max_connections=10, most=0)
    with pytest.raises(BadArgument, match="given twice: canary"):
        plan([Member("canary"), Member("canary")], max_connections=10)
