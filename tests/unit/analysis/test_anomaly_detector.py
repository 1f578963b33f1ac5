from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.analysis import ALARM_THRESHOLD, AnomalyBank, AnomalyDetector, anomaly_state
from outrider.analysis.anomaly_clock import Clock
from outrider.analysis.anomaly_tuning import Tuning
from outrider.errors import BadArgument, StoreError

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


def test_a_flat_line_is_an_alarm_once() -> None:
    values = np.append(series(6)[:700, 0], np.full(100, 50.0))
    alarms = [at for at, score in enumerate(scores(values)) if score >= ALARM_THRESHOLD]

    assert [at for at in alarms if at >= 700] == [760]


def learned(values: np.ndarray) -> AnomalyDetector:
    detector = AnomalyDetector()
    for at, value in enumerate(values):
        detector.update(300.0 * at, float(value))
    return detector


def test_nothing_odd_needs_no_explanation() -> None:
    assert learned(series(7)[:, 0]).explain() is None
    assert AnomalyDetector().explain() is None


@pytest.mark.parametrize(
    ("component", "end"),
    [
        ("novelty", [500.0]),
        ("flat_line", [50.0] * 61),
        ("season", [65.0] * 12),
        ("spread", [30.0]),
    ],
)
def test_an_anomaly_names_its_component(component: str, end: list[float]) -> None:
    # The end of the third day is a trough: 65 is no new value, but is not usual there.
    count = 3 * 288 + 216
    wave = 50 + 20 * np.sin(np.arange(count) / 288 * 2 * np.pi)
    calm = np.random.default_rng(8).normal(50, 1, count) if component == "spread" else wave
    calm = calm + np.random.default_rng(9).normal(0, 1, count)
    calm[100] = 20.0
    found = learned(np.append(calm, end)).explain()

    assert found is not None
    assert found.component == component
    assert found.observed == end[-1]
    assert found.since_s <= 300.0 * (count + len(end) - 1)
    if component != "flat_line":
        assert not found.low <= found.observed <= found.high


def test_a_level_that_moves_is_explained_as_level() -> None:
    random = np.random.default_rng(10)
    calm = random.normal(50, 2, 1200)
    calm[20] = 90.0
    found = learned(np.append(calm, random.normal(58, 2, 30))).explain()

    assert found is not None
    assert found.component == "level"


def test_a_counter_is_judged_by_its_increase_and_may_begin_anew() -> None:
    steps = np.random.default_rng(11).poisson(50, 800).astype(float)
    total = np.cumsum(steps)
    total[500:] -= total[500]
    detector = AnomalyDetector(counter=True)
    found = [detector.update(300.0 * at, value) for at, value in enumerate(total)]

    assert found[0] == found[500] == 0
    assert max(found) < ALARM_THRESHOLD
    assert detector.update(300.0 * 800, total[-1] + 5000) >= ALARM_THRESHOLD


def test_a_bank_takes_counters_beside_levels() -> None:
    values = np.abs(series(12))
    values[:, 1] = np.nancumsum(values[:, 1])
    values[400:, 1] -= values[400, 1]
    bank = AnomalyBank(4, counters=[False, True, False, False])
    single = AnomalyDetector(counter=True)
    for at, row in enumerate(values):
        found = bank.update(300.0 * at, row)[1]
        assert found == pytest.approx(single.update(300.0 * at, float(row[1])), abs=1e-9)


def test_a_bank_larger_than_a_block_keeps_its_series_apart() -> None:
    values = series(1, 240)
    bank, few = AnomalyBank(2052), AnomalyBank(4)
    for at, row in enumerate(values):
        found = bank.update(300.0 * at, np.tile(row, 513))
        np.testing.assert_array_equal(found, np.tile(few.update(300.0 * at, row), 513))


def test_a_bank_goes_on_from_its_state_and_explains_itself() -> None:
    values = series(13, 690)
    values[650:, :] += 400
    bank, single = AnomalyBank(4), AnomalyDetector()
    explained = 0
    for at, row in enumerate(values):
        if at % 100 == 77:
            bank = AnomalyBank.loads(bank.dumps())
        expected = single.update(300.0 * at, float(row[0]))
        assert bank.update(300.0 * at, row)[0] == pytest.approx(expected, abs=1e-9)
        if single.explain():
            explained += 1
            ours, theirs = bank.explain(0), single.explain()
            assert ours is not None
            assert theirs is not None
            assert (ours.component, ours.since_s) == (theirs.component, theirs.since_s)
            assert ours.low == pytest.approx(theirs.low)

    assert explained


def test_a_bank_refuses_what_it_cannot_take() -> None:
    bank = AnomalyBank(2)
    bank.update(0.0, [1.0, 2.0])

    with pytest.raises(BadArgument, match="this bank takes"):
        bank.update(1.0, [1.0])
    with pytest.raises(BadArgument, match="has series 0 to 1"):
        bank.detector(2)
    with pytest.raises(BadArgument, match="other timestamps"):
        bank.put(0, AnomalyDetector())
    with pytest.raises(BadArgument, match="one flag for each"):
        AnomalyBank(2, counters=[True])
    with pytest.raises(StoreError, match="learned anew"):
        AnomalyBank.loads(bank.dumps()[:-1])


def test_a_tuning_of_ones_own_has_no_state() -> None:
    with pytest.raises(BadArgument, match="leave out set_to"):
        AnomalyDetector(set_to=Tuning(peaks=2)).dumps()


@pytest.mark.parametrize(("step_s", "warm", "gap"), [(1, 21600, 3600), (300, 150, 60)])
def test_lengths_follow_the_step_and_are_never_too_short(step_s: int, warm: int, gap: int) -> None:
    clock = Clock()
    for at in range(3):
        clock.advance(float(step_s * at))

    assert (clock.warm_up(), clock.samples(60)) == (warm, gap)


def test_one_long_gap_does_not_change_the_step() -> None:
    clock = Clock()
    for at in [0, 300, 600, 900, 90_000, 90_300, 90_600]:
        clock.advance(float(at))

    assert clock.step_s == pytest.approx(300)


def test_healthy_series_alarm_at_most_once_in_two_weeks() -> None:
    random, count = np.random.default_rng(14), 4032
    day = np.sin(np.arange(count) / 288 * 2 * np.pi)[:, None]
    kinds = (
        50 + 5 * random.normal(size=(count, 10)),
        50 + 20 * day + random.normal(0, 3, (count, 10)),
    )
    values = np.concatenate(kinds, axis=1)
    bank = AnomalyBank(20)
    alarms = sum(
        int((bank.update(300.0 * at, row) >= ALARM_THRESHOLD).sum())
        for at, row in enumerate(values)
    )

    assert alarms <= 20
