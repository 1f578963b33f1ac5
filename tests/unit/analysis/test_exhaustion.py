from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider import analysis
from outrider.analysis.exhaustion import TimeToLimit, time_to_limit
from outrider.errors import BadArgument

HOUR_S = 3600.0
STEP_S = 300.0


def times(days: float) -> np.ndarray:
    return np.arange(int(days * 86_400 / STEP_S)) * STEP_S


def noise(at: np.ndarray, size: float = 0.004) -> np.ndarray:
    return size * np.random.default_rng(7).standard_normal(len(at))


def day(at: np.ndarray, size: float) -> np.ndarray:
    return size * np.sin(2 * np.pi * at / 86_400)


def saw(at: np.ndarray, size: float, every_h: float = 5.3) -> np.ndarray:
    return size * ((at / 3600 / every_h) % 1.0)


def hours(found: TimeToLimit | None) -> float:
    assert found is not None
    return found.eta_s / HOUR_S


def test_the_public_name_is_this_function() -> None:
    assert analysis.time_to_limit is time_to_limit


def test_a_plain_leak_is_told_to_the_hour() -> None:
    at = times(4)

    found = time_to_limit(at, 0.2 + 0.5 * at / at[-1] + noise(at), limit=1.0)

    assert hours(found) == pytest.approx(96 * 0.3 / 0.5, rel=0.05)


def test_the_interval_holds_the_truth_and_more_confidence_widens_it() -> None:
    at = times(6)
    whole = 0.2 + 0.15 * at / 86_400 + noise(at, 0.02)
    seen = slice(0, len(times(2)))
    left_s = at[np.argmax(whole >= 1)] - at[seen][-1]

    narrow = time_to_limit(at[seen], whole[seen], limit=1.0, confidence=0.5)
    wide = time_to_limit(at[seen], whole[seen], limit=1.0, confidence=0.99)

    assert narrow is not None
    assert wide is not None
    assert wide.lower_s < left_s < wide.upper_s
    assert wide.lower_s < narrow.lower_s <= narrow.eta_s <= narrow.upper_s < wide.upper_s


def test_a_falling_series_meets_a_limit_below_it() -> None:
    at = times(4)

    found = time_to_limit(at, 100 - 60 * at / at[-1] + 100 * noise(at), limit=0.0)

    assert hours(found) == pytest.approx(96 * 40 / 60, rel=0.05)


def test_a_leak_under_a_season_is_told() -> None:
    at = times(6)

    found = time_to_limit(at, 0.1 + 0.5 * at / at[-1] + day(at, 0.08) + noise(at), limit=1.0)

    assert hours(found) == pytest.approx(6 * 24 * 0.4 / 0.5, rel=0.25)


def test_a_leak_under_a_saw_tooth_is_told_by_its_peaks() -> None:
    at = times(5)

    found = time_to_limit(at, 0.2 + 0.4 * at / at[-1] + saw(at, 0.1) + noise(at), limit=1.0)

    assert hours(found) == pytest.approx(5 * 24 * 0.3 / 0.4, rel=0.15)


def test_a_leak_that_just_began_is_not_averaged_with_the_calm_before() -> None:
    at = times(6)
    values = 0.3 + 0.3 * np.maximum(0.0, at / at[-1] - 0.7) / 0.3 + noise(at)

    found = time_to_limit(at, values, limit=1.0)

    assert hours(found) == pytest.approx(0.3 * 6 * 24 * 0.4 / 0.3, rel=0.15)


def test_a_deploy_moves_the_level_and_not_the_slope() -> None:
    at = times(5)
    values = 0.1 + 0.3 * at / at[-1] + 0.2 * (at > at[-1] * 0.6) + noise(at)

    found = time_to_limit(at, values, limit=1.0)

    assert hours(found) == pytest.approx(5 * 24 * 0.4 / 0.3, rel=0.15)


@pytest.mark.parametrize(
    "shape",
    [
        lambda at: 0.5 + 0 * at,
        lambda at: 0.5 + day(at, 0.3),
        lambda at: 0.3 + saw(at, 0.4),
        lambda at: 0.3 + saw(at, 0.5, every_h=24.0),
        lambda at: np.minimum(0.8, 0.3 + at / at[-1]),
        lambda at: 0.85 - 0.5 * np.exp(-at / 100_000),
        lambda at: 0.3 + 0.3 * (at > at[-1] / 2),
        lambda at: 0.9 - 0.3 * at / at[-1],
    ],
    ids=["flat", "season", "saw tooth", "rotation", "plateau", "warm-up", "deploy", "falling"],
)
def test_what_does_not_head_for_the_limit_is_silent(shape: object) -> None:
    at = times(6)

    assert time_to_limit(at, shape(at) + noise(at), limit=1.0) is None  # type: ignore[operator]


def test_a_slope_too_small_for_what_was_seen_is_silent() -> None:
    at = times(2)

    assert time_to_limit(at, 0.2 + 0.01 * at / at[-1] + noise(at, 0.0001), limit=1.0) is None


def test_nothing_is_left_at_the_limit() -> None:
    assert time_to_limit([0.0, 1.0], [0.0, 1.0], limit=1.0) == TimeToLimit(0.0, 0.0, 0.0)


@pytest.mark.parametrize("count", [0, 1, 2, 19])
def test_too_little_history_is_silent(count: int) -> None:
    assert time_to_limit(np.arange(count), np.arange(count) / 100, limit=1.0) is None


def test_order_gaps_and_missing_values_do_not_matter() -> None:
    at = times(4)
    values = 0.2 + 0.5 * at / at[-1] + noise(at)
    whole = hours(time_to_limit(at, values, limit=1.0))
    values[::7] = math.nan
    values[300:340] = math.inf
    mixed = np.random.default_rng(1).permutation(len(at))

    found = time_to_limit(at[mixed], values[mixed], limit=1.0)

    assert hours(found) == pytest.approx(whole, rel=0.03)


@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=120),
    st.floats(allow_nan=False, allow_infinity=False),
)
@settings(max_examples=150, deadline=None)
def test_hostile_series_are_survived(rows: list[tuple[float, float]], limit: float) -> None:
    found = time_to_limit(
        [at for at, _ in rows], [value for _, value in rows], limit=limit
    )  # fmt: skip

    if found is not None:
        assert 0 <= found.lower_s <= found.eta_s <= found.upper_s


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limit": math.nan}, "limit = nan"),
        ({"limit": math.inf}, "limit = inf"),
        ({"confidence": 0.0}, "confidence = 0.0"),
        ({"values": [1.0]}, "of one length"),
        ({"values": [[1.0, 2.0]], "timestamps_s": [[1.0, 2.0]]}, "two sequences"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    given_: dict[str, object] = {"timestamps_s": [0.0, 1.0], "values": [0.0, 1.0], "limit": 2.0}

    with pytest.raises(BadArgument, match=words):
        time_to_limit(**(given_ | arguments))  # type: ignore[arg-type]
