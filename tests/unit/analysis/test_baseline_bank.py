from __future__ import annotations

import numpy as np
import pytest

from outrider.analysis.baseline_bank import DAY_S, EARLY, HOUR_S, BaselineBank

MONDAY_S = 4 * DAY_S  # 1970 began on a Thursday
STEP_S = 60.0
PER_DAY = 1440


def learned(values: np.ndarray, *, step_s: float = STEP_S) -> BaselineBank:
    bank = BaselineBank(values.shape[1])
    for n, row in enumerate(values):
        bank.update(MONDAY_S + step_s * n, row)
    return bank


def noise(ticks: int, series: int = 1, *, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (ticks, series))


def daily(ticks: int) -> np.ndarray:
    """A sine of ten, one period a day."""
    return 10 * np.sin(2 * np.pi * np.arange(ticks) / PER_DAY)[:, np.newaxis]


def test_the_level_and_the_range_are_those_of_the_values() -> None:
    low, center, high = learned(100 + 3 * noise(5 * PER_DAY)).expected(MONDAY_S + 5 * DAY_S)

    assert center[0] == pytest.approx(100, abs=0.5)
    assert (low[0], high[0]) == pytest.approx((94.1, 105.9), abs=1.0)


@pytest.mark.parametrize(
    "values",
    [
        100 + noise(10 * PER_DAY, 20),
        np.exp(0.7 * noise(10 * PER_DAY, 20)),
        100 + daily(10 * PER_DAY) + noise(10 * PER_DAY, 20),
    ],
    ids=["normal", "skewed", "daily"],
)
def test_the_range_holds_95_of_a_hundred_values(values: np.ndarray) -> None:
    bank = BaselineBank(values.shape[1])
    scores = np.array([bank.update(MONDAY_S + STEP_S * n, row) for n, row in enumerate(values)])

    inside = np.mean(np.abs(scores[5 * PER_DAY :]) <= 1)
    assert 0.93 <= inside <= 0.97


def test_the_hour_counts_where_it_explains_enough_and_only_there() -> None:
    ticks = 4 * PER_DAY
    bank = learned(np.hstack([100 + daily(ticks) + noise(ticks), 100 + noise(ticks)]))
    at_6h, at_18h = (MONDAY_S + 4 * DAY_S + hour * HOUR_S for hour in (6, 18))

    assert bank.table["mode"].tolist() == [1.0, 0.0]
    assert bank.expected(at_6h)[1][0] == pytest.approx(110, abs=1.5)
    assert bank.expected(at_18h)[1][0] == pytest.approx(90, abs=1.5)
    assert bank.season(at_6h)[1] == 0


def test_no_season_is_seen_in_a_single_day() -> None:
    assert learned(100 + daily(PER_DAY)).table["mode"].tolist() == [0.0]


def test_the_weekday_counts_where_the_weekend_is_quiet() -> None:
    ticks = 28 * 288
    days = (np.arange(ticks) // 288) % 7
    values = 100 + 10 * np.sin(2 * np.pi * np.arange(ticks) / 288) - 30 * (days >= 5)
    bank = learned((values + noise(ticks)[:, 0])[:, np.newaxis], step_s=300.0)
    noon_s = MONDAY_S + 28 * DAY_S + 12 * HOUR_S

    assert bank.table["mode"].tolist() == [2.0]
    wednesday, sunday = (bank.expected(noon_s + day * DAY_S)[1][0] for day in (2, 6))
    assert 20 < wednesday - sunday < 40


def test_an_hour_of_an_anomaly_moves_nothing_much() -> None:
    values = 100 + noise(3 * PER_DAY)
    before = learned(values).expected(MONDAY_S + 3 * DAY_S)
    values[-60:] = 1e6
    after = learned(values).expected(MONDAY_S + 3 * DAY_S)

    assert after[1][0] == pytest.approx(before[1][0], abs=0.3)
    assert after[2][0] < before[2][0] + 3


def test_a_first_value_that_is_wild_is_not_the_level() -> None:
    values = 100 + noise(EARLY + 5)
    values[0] = 1e9

    assert learned(values).expected(MONDAY_S)[1][0] == pytest.approx(100, abs=2)


def test_a_shift_that_lasts_is_normal_after_some_days() -> None:
    values = 100 + noise(8 * PER_DAY)
    values[2 * PER_DAY :] += 50

    assert learned(values).expected(MONDAY_S)[1][0] == pytest.approx(150, abs=3)


def announced(shift: float) -> BaselineBank:
    """Two days around a level, then a deploy and twenty minutes around another."""
    values = np.tile(100 + noise(2 * PER_DAY + 20), (1, 2))
    values[2 * PER_DAY :] += shift
    bank = BaselineBank(2)
    for n, row in enumerate(values):
        if n == 2 * PER_DAY:
            bank.annotate(np.array([True, False]))
        bank.update(MONDAY_S + STEP_S * n, row)
    return bank


def test_a_shift_that_was_announced_begins_a_new_baseline() -> None:
    bank = announced(50)

    assert bank.expected(0)[1] == pytest.approx([150, 100], abs=3)
    assert bank.table["since_s"][0] == pytest.approx(
        MONDAY_S + 2 * DAY_S + (EARLY - 1) * STEP_S, abs=1
    )


def test_a_restart_that_changes_nothing_keeps_its_baseline() -> None:
    bank = announced(0)

    assert bank.expected(0)[1] == pytest.approx([100, 100], abs=1)
    assert bank.table["since_s"][0] == MONDAY_S + (EARLY - 1) * STEP_S


def test_what_was_never_negative_is_not_expected_to_be() -> None:
    low = learned(np.abs(noise(PER_DAY)) * 0.1).expected(MONDAY_S)[0]

    assert low[0] >= 0


def test_too_few_values_have_no_normal() -> None:
    bank = learned(noise(EARLY - 1))

    assert np.isnan(bank.expected(MONDAY_S)).all()
    assert np.isnan(bank.update(MONDAY_S + DAY_S, [1.0])).all()


def test_series_come_and_go_and_the_others_keep_their_normal() -> None:
    bank = learned(np.hstack([100 + noise(100), 500 + noise(100)]))
    bank.table.select(np.array([1, -1]))

    assert bank.expected(MONDAY_S)[1][0] == pytest.approx(500, abs=1)
    assert np.isnan(bank.expected(MONDAY_S)[1][1])
