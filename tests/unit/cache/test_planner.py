from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import outrider.cache
from outrider.cache.planner import WarmingPlanner
from outrider.errors import BadArgument

# Gaps and keys of a stream of uses; small times, so that values do expire.
streams = st.lists(
    st.tuples(st.floats(0, 100, allow_nan=False), st.sampled_from("abcdef")), max_size=200
)
rhythmic = st.lists(
    st.tuples(st.sampled_from([5.0, 13.0, 31.0, 61.0]), st.floats(0, 0.3)), min_size=1, max_size=5
)


class Ledger:
    """Counts loads on its own, with and without warming, to check the planner's word."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.loads = self.plain_loads = self.misses = 0
        self._expires_s: dict[object, float] = {}
        self._plain_expires_s: dict[object, float] = {}

    def use(self, key: object, at_s: float) -> None:
        if at_s >= self._expires_s.get(key, -1.0):
            self.loads += 1
            self.misses += 1
            self._expires_s[key] = at_s + self.ttl_s
        if at_s >= self._plain_expires_s.get(key, -1.0):
            self.plain_loads += 1
            self._plain_expires_s[key] = at_s + self.ttl_s

    def warm(self, key: object, at_s: float) -> None:
        self.loads += 1
        self._expires_s[key] = at_s + self.ttl_s


def drive(
    planner: WarmingPlanner, uses: list[tuple[float, str]], budget: float | None = None
) -> Ledger:
    """Replay uses, warming whenever the planner says so."""
    ledger = Ledger(planner.ttl_s)
    for at_s, key in uses:
        while (due_s := planner.next_due_s()) is not None and due_s <= at_s:
            for warmed in planner.due(due_s):
                ledger.warm(warmed, due_s)
            check(ledger, budget)
        planner.observe(key, at_s)
        ledger.use(key, at_s)
        check(ledger, budget)
    return ledger


def check(ledger: Ledger, budget: float | None) -> None:
    if budget is not None:
        assert ledger.loads - ledger.plain_loads <= budget * ledger.plain_loads


def times(stream: list[tuple[float, str]]) -> list[tuple[float, str]]:
    at_s, uses = 0.0, []
    for gap_s, key in stream:
        at_s += gap_s
        uses.append((at_s, key))
    return uses


def polls(
    periods: list[tuple[float, float]], *, until_s: float = 2000.0
) -> list[tuple[float, str]]:
    dice = random.Random(1)
    uses = []
    for number, (period_s, noise) in enumerate(periods):
        at_s = float(number)
        while at_s < until_s:
            uses.append((at_s, f"key{number}"))
            at_s += period_s * (1 + dice.uniform(-noise, noise))
    return sorted(uses)


def test_the_package_offers_the_planner() -> None:
    assert outrider.cache.WarmingPlanner is WarmingPlanner


def test_a_polled_key_is_due_shortly_before_its_use() -> None:
    planner = WarmingPlanner(ttl_s=30, budget=1.0)
    drive(planner, polls([(60.0, 0.0)], until_s=600))
    assert planner.next_due_s() == pytest.approx(595, abs=6)
    assert planner.due(585) == []
    assert planner.due(599) == ["key0"]


def test_steady_polls_are_almost_all_covered_at_no_extra_load() -> None:
    ledger = drive(WarmingPlanner(ttl_s=30, budget=1.0), polls([(60.0, 0.02)] * 5))
    assert ledger.loads <= ledger.plain_loads * 1.01
    assert ledger.misses < ledger.plain_loads * 0.25


def test_a_key_used_all_the_time_is_renewed_before_it_expires() -> None:
    planner = WarmingPlanner(ttl_s=60, budget=1.0)
    ledger = drive(planner, polls([(1.0, 0.1)], until_s=1200))
    assert ledger.misses <= 2
    assert ledger.plain_loads == 20


def test_a_key_whose_value_outlives_its_next_use_is_not_due() -> None:
    planner = WarmingPlanner(ttl_s=100, budget=1.0)
    drive(planner, [(0, "a"), (20, "a"), (40, "a"), (60, "a")])
    assert planner.due(80) == []


def test_a_key_that_was_warmed_waits_for_a_use_before_it_is_due_again() -> None:
    planner = WarmingPlanner(ttl_s=30, budget=10.0)
    drive(planner, polls([(60.0, 0.0)], until_s=600))
    assert planner.due(599) == ["key0"]
    assert planner.next_due_s() is None
    assert [key for at_s in range(600, 3000, 10) for key in planner.due(at_s)] == []


def test_the_likeliest_key_takes_the_last_of_the_budget() -> None:
    uses = sorted([(60.0 * n, "steady") for n in range(10)] + [
        (at_s, "loose") for at_s in (5, 50, 130, 170, 250, 290, 370, 410, 490, 545)
    ])  # fmt: skip
    generous = WarmingPlanner(ttl_s=30, budget=1.0)
    frugal = WarmingPlanner(ttl_s=30, budget=0.05)
    for at_s, key in uses:
        generous.observe(key, at_s)
        frugal.observe(key, at_s)
    assert generous.due(599)[0] == "steady"
    assert set(generous.due(599)) <= {"loose"}
    assert frugal.due(599) == ["steady"]
    assert frugal.shadow_loads == 20


def test_no_budget_warms_nothing() -> None:
    planner = WarmingPlanner(ttl_s=30, budget=0.0)
    drive(planner, polls([(60.0, 0.0)] * 3))
    assert planner.warmed == 0
    assert planner.extra_loads == 0


@pytest.mark.parametrize(
    "values", [{"ttl_s": 0}, {"ttl_s": float("nan")}, {"ttl_s": 1, "budget": -1}]
)
def test_values_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(BadArgument):
        WarmingPlanner(**values)


@given(streams, st.sampled_from([0.0, 0.05, 0.3, 1.0]), st.sampled_from([1.0, 10.0, 60.0]))
def test_extra_loads_never_exceed_the_budget(
    stream: list[tuple[float, str]], budget: float, ttl_s: float
) -> None:
    drive(WarmingPlanner(ttl_s=ttl_s, budget=budget), times(stream), budget)


@given(rhythmic, st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([10.0, 30.0]))
def test_extra_loads_of_rhythmic_keys_never_exceed_the_budget(
    periods: list[tuple[float, float]], budget: float, ttl_s: float
) -> None:
    planner = WarmingPlanner(ttl_s=ttl_s, budget=budget)
    ledger = drive(planner, polls(periods, until_s=800), budget)
    assert (ledger.loads, ledger.plain_loads) == (planner.loads, planner.shadow_loads)


@given(streams, st.lists(st.floats(0, 500), max_size=20))
def test_asking_at_any_time_leaves_nothing_due_behind(
    stream: list[tuple[float, str]], questions: list[float]
) -> None:
    planner = WarmingPlanner(ttl_s=10, budget=1.0)
    events = sorted([*times(stream), *((at_s, "?") for at_s in questions)])
    for at_s, key in events:
        if key != "?":
            planner.observe(key, at_s)
            continue
        found = planner.due(at_s)
        assert len(found) == len(set(found))
        due_s = planner.next_due_s()
        assert due_s is None or due_s > at_s
