from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.database.pools import FleetTooLarge, Member, Plan
from outrider.database.pools import plan as planned
from outrider.database.wall import Wall
from outrider.errors import BadArgument

weights = st.floats(0.001, 1e6)
fleets = st.lists(st.builds(Member, st.just(""), st.integers(0, 12), weights), max_size=20).map(
    lambda bots: [
        Member(f"bot{number}", bot.instances, bot.weight) for number, bot in enumerate(bots)
    ]
)
limits = st.integers(1, 400)
caps = st.none() | st.integers(1, 60)


def plan(
    fleet: list[Member], *, max_connections: int, reserved: int = 0, most: int | None = None
) -> Plan:
    return planned(fleet, Wall(max_connections, reserved=reserved, operations=0), most=most)


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
    assert "canary alone needs 30 x 1" in str(caught.value)
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
    with pytest.raises(BadArgument, match="most = 0"):
        plan([], max_connections=10, most=0)
    with pytest.raises(BadArgument, match="given twice: canary"):
        plan([Member("canary"), Member("canary")], max_connections=10)


loads = st.tuples(st.floats(0.01, 50), st.floats(0.001, 1.0))
measured = st.lists(
    st.builds(
        lambda load, instances, priority: (load, instances, priority),
        loads, st.integers(1, 4), st.floats(0.1, 10),
    ),
    min_size=1, max_size=12,
).map(
    lambda rows: [
        Member(f"bot{n}", instances, rate=load[0], hold_s=load[1], priority=priority)
        for n, (load, instances, priority) in enumerate(rows)
    ]
)  # fmt: skip


@given(measured, st.integers(0, 60))
def test_every_measured_bot_gets_what_keeps_its_queue_finite_within_the_wall(
    fleet: list[Member], spare: int
) -> None:
    floors = sum(bot.instances * bot.floor for bot in fleet) + max(bot.floor for bot in fleet)
    found = plan(fleet, max_connections=floors + spare)

    assert found.total <= found.wall
    for bot, share in zip(fleet, found.shares, strict=True):
        assert share.size >= bot.floor > bot.rate * bot.hold_s  # type: ignore[operator]
        assert math.isfinite(share.wait_p99_s)  # type: ignore[arg-type]


def total_wait(fleet: list[Member], sizes: tuple[int, ...]) -> float:
    from outrider.database import erlang

    total = 0.0
    for bot, size in zip(fleet, sizes, strict=True):
        assert bot.rate is not None
        total += bot.rate * erlang.mean_wait_s(bot.rate, bot.hold_s, size)
    return total


@given(st.lists(loads, min_size=3, max_size=3), st.integers(0, 6))
def test_no_other_split_waits_less(rows: list[tuple[float, float]], spare: int) -> None:
    import itertools

    fleet = [Member(f"bot{n}", rate=rate, hold_s=hold) for n, (rate, hold) in enumerate(rows)]
    floors = [bot.floor for bot in fleet]
    found = plan(fleet, max_connections=sum(floors) + max(floors) + spare)
    given_away = sum(share.size for share in found.shares)
    best = min(
        total_wait(fleet, tuple(map(sum, zip(floors, more, strict=True))))
        for more in itertools.product(range(spare + 1), repeat=3)
        if sum(floors) + sum(more) == given_away
        and max(map(sum, zip(floors, more, strict=True))) <= found.surge  # else it would not fit
    )
    mine = total_wait(fleet, tuple(share.size for share in found.shares))
    assert mine <= best * 1.001 + 1e-5


def test_the_busy_bot_gets_more_and_a_priority_moves_connections() -> None:
    fleet = [Member("busy", rate=20, hold_s=0.2), Member("calm", rate=2, hold_s=0.2)]
    sizes = {share.name: share.size for share in plan(fleet, max_connections=18).shares}
    assert sizes["busy"] > sizes["calm"]

    urgent = [fleet[0], Member("calm", rate=2, hold_s=0.2, priority=1000)]
    moved = {share.name: share.size for share in plan(urgent, max_connections=18).shares}
    assert moved["calm"] > sizes["calm"]


def test_a_measured_fleet_that_cannot_live_names_the_greatest() -> None:
    with pytest.raises(FleetTooLarge, match="busy alone needs 2 x 11") as caught:
        plan(
            [Member("busy", 2, rate=100, hold_s=0.1), Member("calm", rate=1, hold_s=0.1)],
            max_connections=20,
        )
    assert (caught.value.needed, caught.value.wall) == (2 * 11 + 1 + 11, 20)
