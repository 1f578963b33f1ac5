from __future__ import annotations

import numpy as np
import pytest

from outrider.analysis import onset, signals
from outrider.samples import Window

TICKS = 60
RANDOM = np.random.default_rng(3)
LAG = "bot.a.loop_lag_s"
ERRORS = "bot.a.errors_total"
RSS = "bot.a.rss_bytes"


def change(series: str, column: object) -> onset.Change | None:
    values = np.array(np.broadcast_to(np.asarray(column, float), TICKS))[:, np.newaxis]
    found = onset.changes(signals.of_windows(Window((series,), np.arange(0.0, TICKS), values)))
    return found[0] if found else None


def stepped(before: float, now: float, at: int, spread: float = 0.0) -> np.ndarray:
    level = np.where(np.arange(TICKS) < at, before, now)
    return level + RANDOM.normal(0, spread, TICKS) if spread else level


@pytest.mark.parametrize("at", [12, 30, 45, 54])
def test_a_shift_is_dated_and_measured(at: int) -> None:
    found = change(LAG, stepped(0.1, 0.9, at, spread=0.01))

    assert found is not None
    assert found.onset_s == at
    assert (found.before, found.now) == pytest.approx((0.1, 0.9), abs=0.02)
    assert found.size == pytest.approx(4, abs=0.2)
    assert found.spreads > 10


@pytest.mark.parametrize(
    "column",
    [
        stepped(0.1, 0.25, 40, 0.01),  # less than counts
        stepped(0.9, 0.1, 40, 0.01),  # for the better
        stepped(0.1, 9.0, 58),  # two ticks
        np.where(np.arange(TICKS) % 5 == 0, 2.0, 0.1),  # as it always was
        np.full(TICKS, np.nan),
        np.where((np.arange(TICKS) > 30) & (np.arange(TICKS) < 45), 2.0, 0.1),  # over
        RANDOM.exponential(0.1, TICKS),
    ],
)
def test_what_is_small_short_good_usual_or_over_is_no_change(column: np.ndarray) -> None:
    assert change(LAG, column) is None


def test_a_leak_climbs_and_a_step_does_not() -> None:
    climbing = 80e6 + np.maximum(0, np.arange(TICKS) - 40) * 4e6

    found = change(RSS, climbing)
    assert found is not None
    assert found.onset_s == pytest.approx(42, abs=2)
    assert found.now > 145e6
    assert change(RSS, stepped(80e6, 150e6, 40)) is None


def test_seldom_errors_that_become_many_are_a_change_and_a_single_crowd_is_none() -> None:
    many = np.cumsum(stepped(0, 1, 40))
    crowd = np.cumsum(np.where(np.arange(TICKS) == 50, 20, 0))

    found = change(ERRORS, many)
    assert found is not None
    assert (found.before, found.now) == (0, 1)
    assert change(ERRORS, crowd) is None


def test_what_is_used_more_and_is_far_from_full_holds_nobody_up() -> None:
    assert change("host.cpu.used_ratio", stepped(0.1, 0.4, 40, 0.01)) is None
    assert change("host.cpu.used_ratio", stepped(0.6, 1.0, 40, 0.01)) is not None


def test_strength_is_half_at_what_just_counts_and_never_beyond_the_weight() -> None:
    just, much = change(LAG, stepped(0.1, 0.301, 40)), change(LAG, stepped(0.1, 500, 40))

    assert just is not None
    assert much is not None
    assert just.strength == pytest.approx(0.45, abs=0.01)
    assert much.strength == pytest.approx(0.9)


def test_noise_alone_is_seldom_a_change() -> None:
    found, draw = 0, np.random.default_rng(11)
    for _ in range(40):
        values = np.abs(draw.standard_t(3, (TICKS, 25))) * 0.2
        names = tuple(f"bot.b{number}.loop_lag_s" for number in range(25))
        found += len(
            onset.changes(signals.of_windows(Window(names, np.arange(0.0, TICKS), values)))
        )

    assert found <= 10  # of 1000
