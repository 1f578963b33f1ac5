from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from outrider.analysis.changepoint import Change, ChangeBank

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.default_rng(11)
START = RANDOM.bit_generator.state
MINUTE_S = 60.0


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    RANDOM.bit_generator.state = START


def changes(values: np.ndarray, *, step_s: float = MINUTE_S) -> list[Change]:
    bank = ChangeBank(values.shape[1])
    return [
        change for n, row in enumerate(values) for change in bank.update(step_s * n, row.tolist())
    ]


def noise(ticks: int = 720, series: int = 40) -> np.ndarray:
    return 100 + 3 * RANDOM.normal(0, 1, (ticks, series))


def alike(share: float, ticks: int, series: int) -> np.ndarray:
    """An AR(1) process, whose values resemble the one before."""
    found, value = np.empty((ticks, series)), np.zeros(series)
    for n in range(ticks):
        value = share * value + RANDOM.normal(0, 1, series)
        found[n] = value
    return found


@pytest.mark.parametrize(("spreads", "within_min"), [(3, 15), (5, 6), (20, 6)])
def test_a_step_is_found_with_its_time_and_size(spreads: int, within_min: int) -> None:
    values = noise()
    values[360:] += 3 * spreads
    found = changes(values)
    first = {change.place: change for change in reversed(found)}

    assert len(first) == 40
    at_min = np.array([change.at_s / MINUTE_S for change in first.values()])
    seen_min = np.array([change.seen_s / MINUTE_S for change in first.values()])
    sizes = np.array([c.after - c.before for c in first.values() if c.kind == "level"])
    assert np.median(np.abs(at_min - 360)) <= 2
    assert np.median(seen_min - 360) <= within_min
    assert len(sizes) > 20
    assert np.median(sizes) == pytest.approx(3 * spreads, rel=0.25)


def test_a_leak_is_a_bend_with_its_slope() -> None:
    values = noise()
    values[360:] += (np.arange(360) * 3 * 10 / 60)[:, np.newaxis]  # ten spreads an hour
    first = {change.place: change for change in reversed(changes(values))}

    slopes = [c.after - c.before for c in first.values() if c.kind == "slope"]
    assert len(first) >= 34
    assert len(slopes) >= 15
    assert np.median(slopes) == pytest.approx(30, rel=0.5)
    assert abs(np.median([c.at_s / MINUTE_S for c in first.values()]) - 360) <= 15


def test_the_slope_of_the_present_segment_is_known() -> None:
    values = noise(240, 4) + (np.arange(240) * 30 / 60)[:, np.newaxis]
    bank = ChangeBank(4)
    for n, row in enumerate(values):
        bank.update(MINUTE_S * n, row)

    assert np.median(bank.slopes()) == pytest.approx(30, rel=0.2)


@pytest.mark.parametrize(
    ("name", "most_a_month"),
    [("white", 0.2), ("alike", 0.5), ("walk", 0.5), ("heavy", 0.6), ("skewed", 3.0), ("rare", 12)],
)
def test_what_does_not_change_is_seldom_told_to(name: str, most_a_month: float) -> None:
    days, series = 7, 60
    ticks = days * 1440
    made: dict[str, Callable[[], np.ndarray]] = {
        "white": lambda: RANDOM.normal(100, 3, (ticks, series)),
        "alike": lambda: 100 + alike(0.9, ticks, series),
        "walk": lambda: 1000 + np.cumsum(RANDOM.normal(0, 1, (ticks, series)), axis=0),
        "heavy": lambda: 100 + RANDOM.standard_t(3, (ticks, series)),
        "skewed": lambda: np.exp(RANDOM.normal(0, 1, (ticks, series))),
        "rare": lambda: RANDOM.poisson(0.1, (ticks, series)).astype(float),
    }

    assert len(changes(made[name]())) / series / days * 30 <= most_a_month


def test_one_wild_minute_is_no_change() -> None:
    values = noise()
    values[400] = 1e9

    assert changes(values) == []


def test_a_constant_that_moves_changes_once() -> None:
    values = np.full((300, 1), 5.0)
    values[150:] = 9.0
    (found,) = changes(values)

    assert (found.kind, found.at_s) == ("level", 150 * 60)
    assert (found.before, found.after) == pytest.approx((5.0, 9.0), rel=1e-3)


def test_a_change_too_small_to_matter_is_not_told() -> None:
    values = np.full((300, 1), 100.0)
    values[150:] = 101.0

    assert changes(values) == []


def test_samples_of_ten_seconds_are_judged_by_the_minute() -> None:
    values = noise(3600, 5)
    values[1800:] += 15
    first = {change.place: change for change in reversed(changes(values, step_s=10.0))}

    assert len(first) == 5
    assert all(abs(change.at_s - 18_000) <= 120 for change in first.values())
    assert all(change.seen_s - 18_000 <= 600 for change in first.values())
