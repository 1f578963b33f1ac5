from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.analysis import ALARM_THRESHOLD, AnomalyBank, AnomalyDetector, anomaly_state
from outrider.errors import StoreError

HOSTILE = st.one_of(
    st.floats(),
    st.sampled_from([1e308, -1e308, math.inf, -math.inf, math.nan, 0.0, -0.0, 5e-324]),
)


def series(seed: int, count: int = 900) -> np.ndarray:
    """Four kinds side by side: a daily wave, counts in bursts, steps of few values, gaps."""
    random = np.random.default_rng(seed)
    wave = 50 + 20 * np.sin(np.arange(count) / 288 * 2 * np.pi) + random.normal(0, 2, count)
    bursts = random.poisson(np.exp(random.normal(1, 1, count))).astype(float)
    steps = np.repeat(random.integers(0, 3, count // 30), 30).astype(float)
    gaps = np.where(random.random(count) < 0.1, np.nan, -wave)
    return np.stack([wave, bursts, steps, gaps], axis=1)


def scores(values: np.ndarray, step_s: float = 300.0) -> list[float]:
    detector = AnomalyDetector()
    return [detector.update(step_s * at, float(value)) for at, value in enumerate(values)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step_s", [1.0, 300.0, 3600.0])
def test_a_bank_scores_as_the_single_detector_does(seed: int, step_s: float) -> None:
    values = series(seed)
    bank = AnomalyBank(4)
    together = np.array([bank.update(step_s * at, row) for at, row in enumerate(values)])
    alone = np.array([scores(column, step_s) for column in values.T]).T

    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-9)
    assert step_s < 300 or together.max() > 0


def test_a_bank_larger_than_a_block_keeps_its_series_apart() -> None:
    values = np.tile(series(1, 300), (1, 150))
    bank = AnomalyBank(600)
    for at, row in enumerate(values):
        found = bank.update(300.0 * at, row)
        np.testing.assert_array_equal(np.tile(found[:4], 150), found)


def test_the_future_changes_no_score_of_the_past() -> None:
    values = series(2)[:, 0]
    other = np.concatenate([values[:600], values[600:] * 1e6])

    assert scores(values)[:600] == scores(other)[:600]


def test_a_detector_goes_on_from_its_state_as_if_nothing_happened() -> None:
    for column in series(3).T:
        detector, moved = AnomalyDetector(), AnomalyDetector()
        for at, value in enumerate(column):
            expected = detector.update(300.0 * at, float(value))
            moved = AnomalyDetector.loads(moved.dumps())
            assert expected == moved.update(300.0 * at, float(value))


def test_a_state_fits_into_four_kilobytes_however_long_it_learned() -> None:
    fresh, old = AnomalyDetector(), AnomalyDetector()
    for at, value in enumerate(series(4)[:, 1]):
        old.update(300.0 * at, float(value))

    assert len(fresh.dumps()) == len(old.dumps()) == anomaly_state.SIZE <= 4096


@pytest.mark.parametrize("place", [0, 3, 5, 8, 2000, -1])
def test_a_damaged_state_is_refused(place: int) -> None:
    state = bytearray(AnomalyDetector().dumps())
    state[place] ^= 1

    with pytest.raises(StoreError, match="learned anew"):
        AnomalyDetector.loads(bytes(state))


@pytest.mark.parametrize("state", [b"", b"oad\x01", b"x" * 4000])
def test_foreign_bytes_are_refused(state: bytes) -> None:
    with pytest.raises(StoreError, match="learned anew"):
        AnomalyDetector.loads(state)


def test_an_event_is_alarmed_once() -> None:
    values = np.concatenate([series(5)[:700, 0], np.full(40, 900.0) + np.arange(40) * 50])
    alarms = [at for at, score in enumerate(scores(values)) if score >= ALARM_THRESHOLD]

    assert [at for at in alarms if at >= 700] == [700]


def test_nothing_is_alarmed_while_warming_up() -> None:
    values = np.where(np.arange(150) == 149, 1e6, 1.0)

    assert max(scores(values)) == 0


def test_a_constant_that_jumps_is_an_alarm() -> None:
    values = np.append(np.full(600, 7.0), 20.0)
    found = scores(values)

    assert max(found[:-1]) == 0
    assert found[-1] >= ALARM_THRESHOLD


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_scores_nothing_and_teaches_nothing(value: float) -> None:
    detector = AnomalyDetector()
    for at in range(300):
        detector.update(300.0 * at, 5.0 + at % 2)
    samples = detector.samples

    assert detector.update(90_000.0, value) == 0
    assert detector.samples == samples


@settings(deadline=None)
@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=60), st.integers(0, 3))
def test_any_times_and_numbers_give_a_score(samples: list[tuple[float, float]], seed: int) -> None:
    detector, bank = AnomalyDetector(), AnomalyBank(1)
    for at, value in enumerate(series(seed, 300)[:, 0]):
        detector.update(300.0 * at, float(value))
        bank.update(300.0 * at, [value])
    for timestamp_s, value in samples:
        score = detector.update(timestamp_s, value)
        assert 0 <= score <= 1
        assert bank.update(timestamp_s, [value])[0] == pytest.approx(score, abs=1e-9)
    AnomalyDetector.loads(detector.dumps())


def test_a_row_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="this bank takes"):
        AnomalyBank(3).update(0.0, [1.0, 2.0])
