from __future__ import annotations

import random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import outrider.cache
from outrider.cache import budget as budgets
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
    # The hit ratio is never below that of plain caching.
    assert ledger.misses <= ledger.plain_loads
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
    drive(planner, polls([(60.0, 0.0)], until_s=1200))
    assert planner.due(1185) == []
    assert planner.next_due_s() == pytest.approx(1199.9, abs=0.1)
    assert planner.due(1199.95) == ["key0"]


def test_steady_polls_are_almost_all_covered_at_no_extra_load() -> None:
    ledger = drive(WarmingPlanner(ttl_s=30, budget=1.0), polls([(60.0, 0.0)] * 20))
    assert ledger.loads <= ledger.plain_loads * 1.01
    assert ledger.misses < ledger.plain_loads * 0.25


def test_a_key_used_all_the_time_is_renewed_before_it_expires() -> None:
    planner = WarmingPlanner(ttl_s=60, budget=1.0)
    ledger = drive(planner, polls([(1.0, 0.1)], until_s=6000))
    assert ledger.plain_loads == planner.budget.shadow_loads
    assert ledger.misses < ledger.plain_loads * 0.2


def test_a_key_whose_value_outlives_its_next_use_is_not_due() -> None:
    planner = WarmingPlanner(ttl_s=100, budget=1.0)
    drive(planner, [(0, "a"), (20, "a"), (40, "a"), (60, "a")])
    assert planner.due(80) == []


def test_a_key_whose_uses_ended_is_not_loaded_for_ever() -> None:
    planner = WarmingPlanner(ttl_s=30, budget=10.0)
    drive(planner, polls([(60.0, 0.0)], until_s=600))
    assert sum(len(planner.due(at_s)) for at_s in range(600, 9000, 10)) < 5


def pages(visits: int, *, parts: int = 4, apart_s: float = 997.0) -> list[tuple[float, str]]:
    """Pages that are visited at no rhythm, each followed by its parts within a second."""
    dice, at_s, uses = random.Random(2), 0.0, []
    for _ in range(visits):
        at_s += dice.uniform(0.3, 1.7) * apart_s
        page = dice.randrange(5)
        uses += [(at_s + part / 10, f"page{page}/{part}") for part in range(parts)]
    return uses


def test_the_parts_of_a_page_are_loaded_when_the_page_is_used() -> None:
    planner = WarmingPlanner(ttl_s=60, budget=0.5)
    ledger = drive(planner, pages(300))
    # Three parts of four can be foreseen from the first.
    assert ledger.misses < ledger.plain_loads * 0.4
    assert ledger.loads < ledger.plain_loads * 1.05


def test_what_follows_by_chance_is_not_loaded_for_long() -> None:
    dice, at_s, uses = random.Random(3), 0.0, []
    for _ in range(6000):
        at_s += dice.expovariate(2.0)
        uses.append((at_s, f"key{dice.randrange(3000)}"))
    planner = WarmingPlanner(ttl_s=10, budget=1.0)
    ledger = drive(planner, uses, budget=1.0)
    assert ledger.loads - ledger.plain_loads < 0.1 * ledger.plain_loads


def test_a_namespace_whose_loads_do_not_serve_rests_and_says_why() -> None:
    planner = WarmingPlanner(ttl_s=10, budget=1.0)
    planner.budget.shadow_loads = 5000
    for number in range(200):
        planner.observe(number, float(number) / 100)
    for number in range(200):  # loads that somebody decided on, and nobody used
        planner.loaded(number, 20.0 + number / 100)
    planner.pass_by(100.0)
    assert planner.counts.wasted == 200
    assert planner.off == "loads ahead did not serve"
    assert WarmingPlanner(ttl_s=10, budget=0.0).off == "the budget is 0"


def test_another_planner_that_is_told_of_the_loads_comes_to_the_same_state() -> None:
    first, second = (WarmingPlanner(ttl_s=30, budget=1.0) for _ in range(2))
    for at_s, key in polls([(60.0, 0.05), (40.0, 0.1), (90.0, 0.0)], until_s=3000):
        while (due_s := first.next_due_s()) is not None and due_s <= at_s:
            for warmed in first.due(due_s):
                second.loaded(warmed, due_s)
        second.pass_by(at_s)
        for planner in (first, second):
            planner.observe(key, at_s)
    assert first.counts.ahead > 50
    assert second.budget.loads == first.budget.loads
    assert second.budget.misses == first.budget.misses
    assert second.next_due_s() == first.next_due_s()


def test_no_budget_warms_nothing() -> None:
    planner = WarmingPlanner(ttl_s=30, budget=0.0)
    drive(planner, polls([(60.0, 0.0)] * 3))
    assert planner.counts.ahead == 0
    assert planner.budget.extra == 0


def test_it_knows_a_bounded_number_of_keys_and_forgets_those_used_longest_ago() -> None:
    planner = WarmingPlanner(ttl_s=10, budget=1.0, most_keys=50)
    uses = [(float(at), "often" if at % 3 == 0 else f"once{at}") for at in range(2000)]
    ledger = drive(planner, uses)
    assert len(planner) == 50
    assert planner.budget.shadow_loads == ledger.plain_loads
    assert ledger.misses < ledger.plain_loads


@pytest.mark.parametrize(
    "values", [{"ttl_s": 0}, {"ttl_s": float("nan")}, {"ttl_s": 1, "budget": -1}]
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadArgument):
        WarmingPlanner(**values)


@settings(deadline=None)
@given(streams, st.sampled_from([0.0, 0.05, 0.3, 1.0]), st.sampled_from([1.0, 10.0, 60.0]))
def test_extra_loads_never_exceed_the_budget(
    stream: list[tuple[float, str]], budget: float, ttl_s: float
) -> None:
    drive(WarmingPlanner(ttl_s=ttl_s, budget=budget), times(stream), budget)


@settings(deadline=None)
@given(rhythmic, st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([10.0, 30.0]))
def test_extra_loads_of_rhythmic_keys_never_exceed_the_budget(
    periods: list[tuple[float, float]], budget: float, ttl_s: float
) -> None:
    planner = WarmingPlanner(ttl_s=ttl_s, budget=budget)
    ledger = drive(planner, polls(periods, until_s=800), budget)
    assert ledger.loads == planner.budget.loads
    assert ledger.plain_loads == planner.budget.shadow_loads


@settings(deadline=None)
@given(rhythmic, st.sampled_from([0.3, 1.0]), st.sampled_from([10.0, 30.0]), st.integers(0, 50))
def test_no_stretch_of_time_exceeds_the_budget_by_more_than_a_burst(
    periods: list[tuple[float, float]], share: float, ttl_s: float, saved: int
) -> None:
    with mock.patch.object(budgets, "LEAST_WINDOW", 5):
        planner = WarmingPlanner(ttl_s=ttl_s, budget=share)
        budget = planner.budget
        budget.loads = budget.shadow_loads = saved * 100  # a long time in which nothing was spent
        room = burst = 0.0
        for at_s, key in polls(periods, until_s=800):
            while (due_s := planner.next_due_s()) is not None and due_s <= at_s:
                planner.due(due_s)
            planner.observe(key, at_s)
            balance = share * budget.shadow_loads - budget.extra - budget.exposed
            room, burst = max(room, balance), max(burst, budget.burst)
            assert balance >= room - burst - 1e-9


@settings(deadline=None)
@given(streams, st.lists(st.tuples(st.floats(0, 500), st.sampled_from("abcdef")), max_size=60))
def test_no_loads_ahead_however_foolish_cause_more_misses_than_plain_caching(
    stream: list[tuple[float, str]], loads: list[tuple[float, str]]
) -> None:
    ledger = Ledger(10.0)
    events = [(at_s, 0, key) for at_s, key in times(stream)]
    events += [(at_s, 1, key) for at_s, key in loads]
    for at_s, ahead, key in sorted(events):
        (ledger.warm if ahead else ledger.use)(key, at_s)
        assert ledger.misses <= ledger.plain_loads


@settings(deadline=None)
@given(streams, st.sampled_from([0.05, 0.3]), st.sampled_from([1.0, 10.0]))
def test_the_credit_counts_what_the_budget_has_left(
    stream: list[tuple[float, str]], budget: float, ttl_s: float
) -> None:
    planner = WarmingPlanner(ttl_s=ttl_s, budget=budget)
    ledger = drive(planner, times(stream))
    room = budget * ledger.plain_loads - (ledger.loads - ledger.plain_loads)
    assert planner.budget.credit <= room + 1e-9


@settings(deadline=None)
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
