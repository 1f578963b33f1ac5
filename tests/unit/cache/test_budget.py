from __future__ import annotations

import random

import pytest

from outrider.cache.association import MOST_FOLLOWERS, Association
from outrider.cache.budget import LEAST_WINDOW, Budget
from outrider.cache.calibration import Calibration, Forecast
from outrider.cache.price import GREATEST, LEAST, Price


def test_credit_grows_with_demand_and_is_spent_by_loads_ahead() -> None:
    budget = Budget(0.05, ttl_s=60)
    for at_s in range(100):
        budget.miss()
        budget.shadow_miss(float(at_s))
    assert budget.credit == 5
    budget.loads += 2
    budget.exposed = 1
    assert budget.credit == 2


def test_what_was_not_spent_in_quiet_hours_cannot_be_spent_at_once() -> None:
    budget = Budget(0.05, ttl_s=60)
    for number in range(20 * LEAST_WINDOW):
        budget.miss()
        budget.shadow_miss(number * 10.0)
    assert budget.credit == budget.burst == 0.05 * LEAST_WINDOW
    budget.loads += int(budget.credit)
    assert budget.credit == 0


def test_busy_times_allow_more_at_once() -> None:
    budget = Budget(0.05, ttl_s=60)
    for number in range(200_000):
        budget.shadow_miss(number / 100)
    assert budget.burst > 2 * 0.05 * LEAST_WINDOW


def test_a_first_guess_is_corrected_by_the_record_of_its_like_and_of_a_broader_kind() -> None:
    calibration, price = Calibration(ttl_s=10.0), Price()
    for number in range(60):
        cell = calibration.cell(("gap", number % 4), "gap")
        calibration.follow(Forecast(cell, 0.9, float(number), 0.0))
    calibration.settle(100.0, price)
    assert calibration.cell(("gap", 0), "gap").chance(0.9) < 0.1
    assert calibration.cell(("gap", 99), "gap").chance(0.9) < 0.1  # never seen, of its class
    assert calibration.cell("other").chance(0.9) == 0.9


def test_an_outcome_counts_when_its_time_is_over_not_when_it_is_known() -> None:
    calibration, price = Calibration(ttl_s=10.0), Price()
    cell = calibration.cell("a")
    forecast = Forecast(cell, 0.5, 10.0, 0.0)
    calibration.follow(forecast)
    forecast.used = True
    calibration.settle(9.9, price)
    assert cell.trials == 0
    calibration.settle(10.0, price)
    assert (cell.trials, cell.used) == (1, 1)


def test_the_price_is_where_the_costs_of_likelier_loads_reach_the_budget() -> None:
    dice, budget, price = random.Random(1), Budget(0.05, ttl_s=60), Price()
    for number in range(4000):
        budget.miss()
        budget.shadow_miss(float(number))
        price.demand(budget)
        worth = dice.random()  # a forecast for each load of demand, as good as it says
        price.cost(worth, 0.0 if dice.random() < worth else 1.0)
        if worth > price.asked(budget.credit):
            budget.loads += dice.random() > worth
    # The costs above p add up to (1 - p)^2 / 2 of demand: 0.05 at p = 0.68.
    assert 0.55 < price.at < 0.8
    assert 0.03 < budget.extra / budget.shadow_loads <= 0.05


def test_the_price_has_limits_and_rises_as_credit_runs_low() -> None:
    price, poor = Price(), Budget(0.0, ttl_s=60)
    for number in range(200):
        price.cost(0.99, 1.0)
        poor.shadow_miss(float(number))
        price.demand(poor)
    assert price.at == GREATEST
    rich = Price()
    plenty = Budget(1.0, ttl_s=60)
    for number in range(200):
        plenty.shadow_miss(float(number))
        plenty.miss()
        rich.demand(plenty)
    assert rich.at == LEAST
    assert rich.asked(0.0) == 1.0 > rich.asked(1.0) > rich.asked(1e9) == pytest.approx(LEAST)


def test_followers_are_those_that_woke_soon_after() -> None:
    association = Association(ttl_s=60)
    for start_s in (0.0, 100.0, 200.0):
        association.wake("page", start_s)
        association.wake("part", start_s + 1)
        association.wake("later", start_s + 9)
    [follower] = association.wake("page", 300.0)
    assert follower == ("part", 3, 3, True)


def test_a_key_has_a_bounded_number_of_followers_the_rarest_go() -> None:
    association = Association(ttl_s=60)
    for number in range(2 * MOST_FOLLOWERS):
        start_s = 100.0 * number
        association.wake("page", start_s)
        association.wake("always", start_s + 0.1)
        association.wake(number, start_s + 0.2)
    found = association.wake("page", 1e6)
    assert len(found) == MOST_FOLLOWERS
    assert "always" in {follower.key for follower in found}


def test_mining_rests_where_nothing_comes_of_it_and_tries_again() -> None:
    association = Association(ttl_s=60)
    rests = []
    for number in range(60_000):
        association.wake(number, float(number))
        rests.append(association.rests)
    assert rests[5000]
    assert not all(rests[5000:])
    assert sum(rests) > 0.8 * len(rests)
