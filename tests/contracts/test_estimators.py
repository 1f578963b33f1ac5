"""What every estimator owes its callers, whatever it estimates and whatever it is fed."""

from __future__ import annotations

import math
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.analysis import (
    AnomalyBank,
    AnomalyDetector,
    anomaly_state,
    exhaustion,
    forecasting,
    trend,
)
from outrider.analysis.baseline_bank import BaselineBank
from outrider.analysis.changepoint import ChangeBank
from outrider.analysis.readings import Readings
from outrider.analysis.state import HostState
from outrider.errors import StoreError
from outrider.samples import Window

if TYPE_CHECKING:
    from collections.abc import Callable

SERIES = 3
RANDOM = np.random.default_rng(7)
HOSTILE = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    1e-300,
    1e149,
    1e308,
    -1e308,
    math.inf,
    -math.inf,
    math.nan,
]


class Online(Protocol):
    """An estimator with memory: fed a tick at a time."""

    def feed(self, at_s: float, values: Any) -> Any: ...
    def dumps(self) -> bytes: ...
    def again(self, packed: bytes) -> Self: ...


class Bank:
    """One of the banks, fed alike."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.bank = kind(SERIES)

    def feed(self, at_s: float, values: Any) -> Any:
        if self.kind is Readings:
            return self.bank.update(at_s, values, np.array([True, False, False]))
        return self.bank.update(at_s, values)

    def dumps(self) -> bytes:
        packed: bytes = self.bank.dumps()
        return packed

    def again(self, packed: bytes) -> Bank:
        made = Bank(self.kind)
        made.bank.loads(packed)
        return made


class Alone:
    """Detectors of one series each, the first of a counter."""

    def __init__(self) -> None:
        self.each = [AnomalyDetector(counter=at == 0) for at in range(SERIES)]

    def feed(self, at_s: float, values: Any) -> Any:
        return [one.update(at_s, x) for one, x in zip(self.each, values, strict=True)]

    def dumps(self) -> bytes:
        return b"".join(one.dumps() for one in self.each)

    def again(self, packed: bytes) -> Alone:
        made, size = Alone(), anomaly_state.SIZE
        parts = [packed[start : start + size] for start in range(0, SERIES * size, size)]
        made.each = [AnomalyDetector.loads(part) for part in parts]
        return made


class Together:
    """The bank of the same detectors."""

    def __init__(self, bank: AnomalyBank | None = None) -> None:
        self.bank = bank or AnomalyBank(SERIES, counters=[at == 0 for at in range(SERIES)])

    def feed(self, at_s: float, values: Any) -> Any:
        return self.bank.update(at_s, values)

    def dumps(self) -> bytes:
        return self.bank.dumps()

    def again(self, packed: bytes) -> Together:
        return Together(AnomalyBank.loads(packed))


class Whole:
    """All estimators of a host together."""

    def __init__(self, state: HostState | None = None) -> None:
        self.state = state or HostState()

    def feed(self, at_s: float, values: Any) -> Any:
        names = ("a_total", "b", "c_ratio")[: len(values)]
        window = Window(names, np.array([at_s]), np.array([values], dtype=np.float64))
        return self.state.learn(window, interval_s=10.0)

    def dumps(self) -> bytes:
        return self.state.dumps()

    def again(self, packed: bytes) -> Whole:
        return Whole(HostState.loads(packed))


ONLINE: dict[str, Callable[[], Any]] = {
    "readings": lambda: Bank(Readings),
    "baseline": lambda: Bank(BaselineBank),
    "changes": lambda: Bank(ChangeBank),
    "detectors": Alone,
    "detector bank": Together,
    "host": Whole,
}
AT_ONCE: dict[str, Callable[[Any, Any], Any]] = {
    "trend": trend.of,
    "forecast": lambda _, values: forecasting.forecast(values, horizon=6, period=6),
    "time_to_limit": lambda times, values: exhaustion.time_to_limit(times, values, limit=50.0),
}


@pytest.fixture(params=ONLINE)
def online(request: pytest.FixtureRequest) -> Any:
    return ONLINE[request.param]()


@pytest.fixture(params=AT_ONCE)
def at_once(request: pytest.FixtureRequest) -> Any:
    return AT_ONCE[request.param]


def plain(found: Any) -> Any:
    """Return a result as something that can be compared."""
    if isinstance(found, np.ndarray):
        return [None if math.isnan(value) else value for value in found.tolist()]
    if isinstance(found, msgspec.Struct):
        return plain(msgspec.structs.asdict(found))
    if is_dataclass(found) and not isinstance(found, type):
        return plain(asdict(found))
    if isinstance(found, dict):
        return {key: plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [plain(value) for value in found]
    return found


def walk(ticks: int = 400) -> list[list[float]]:
    steps = np.cumsum(np.abs(np.random.default_rng(3).normal(1, 1, (ticks, SERIES))), axis=0)
    rows: list[list[float]] = (steps + np.array([0, 100, 200])).tolist()
    return rows


def fed(estimator: Any, rows: list[list[float]], start: int = 0) -> list[Any]:
    return [plain(estimator.feed(10.0 * (start + n), row)) for n, row in enumerate(rows)]


def test_a_tick_that_comes_twice_or_late_teaches_nothing(online: Any) -> None:
    rows = walk()
    fed(online, rows)
    before = online.dumps()

    for late in (399, 399, 398, 0):
        online.feed(10.0 * late, [1e6, -1e6, 5.0])

    assert before == online.dumps()


def test_what_was_dumped_goes_on_as_what_was_not(online: Any) -> None:
    rows = walk()
    fed(online, rows[:200])
    other = online.again(online.dumps())

    assert fed(online, rows[200:], 200) == fed(other, rows[200:], 200)
    assert online.dumps() == other.dumps()


def test_memory_does_not_grow_with_time(online: Any) -> None:
    rows = walk(1200)
    fed(online, rows[:400])
    before = len(online.dumps())
    fed(online, rows[400:], 400)

    # Compressed, so that other numbers take other room; a list of ticks would be three times it.
    assert len(online.dumps()) < 1.5 * before + 200


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "foreign"])
def test_a_damaged_dump_is_refused(online: Any, harm: str) -> None:
    fed(online, walk(50))
    packed = online.dumps()
    bad = {
        "flip": packed[:-9] + bytes([packed[-9] ^ 1]) + packed[-8:],
        "cut": packed[:-5],
        "empty": b"",
        "foreign": b"OX1\0" + packed[4:],
    }[harm]

    with pytest.raises(StoreError):
        online.again(bad)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_constant_of_any_size_is_taken(online: Any, value: float) -> None:
    fed(online, [[value] * SERIES] * 300)

    online.again(online.dumps())


def test_what_is_no_number_teaches_nothing(online: Any) -> None:
    rows = walk()
    holes = [row if n % 3 else [math.nan, math.inf, -math.inf] for n, row in enumerate(rows)]
    fed(online, holes)

    online.feed(10.0 * len(rows), rows[-1])


def test_a_gap_of_a_month_is_survived(online: Any) -> None:
    rows = walk()
    fed(online, rows[:200])
    fed(online, rows[200:], 200 + 30 * 8640)

    online.again(online.dumps())


# Values as a broken sensor, driver or counter gives them; steps as clocks and gaps do.
VALUES = st.one_of(st.floats(), st.sampled_from(HOSTILE), st.integers(0, 50).map(float))
STEPS_S = st.one_of(
    st.just(10.0), st.floats(-100.0, 1000.0), st.sampled_from([0.0, 1e-9, -1e6, 1e7, math.nan])
)
TICKS = st.lists(st.tuples(STEPS_S, st.tuples(*[VALUES] * SERIES)), max_size=60)


def at_times(ticks: list[tuple[float, Any]], start_s: float) -> list[tuple[float, list[float]]]:
    """Return ticks with their times: each a step after the last that was a number."""
    placed = []
    for step_s, values in ticks:
        start_s, at_s = (start_s, step_s) if math.isnan(step_s) else (start_s + step_s,) * 2
        placed.append((at_s, list(values)))
    return placed


@given(ticks=TICKS)
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("kind", [kind for kind in ONLINE if kind != "host"])
def test_any_times_and_numbers_are_taken_without_a_complaint(kind: str, ticks: Any) -> None:
    estimator = ONLINE[kind]()
    fed(estimator, walk(60))
    for at_s, values in at_times(ticks, 600.0):
        estimator.feed(at_s, values)

    again = estimator.again(estimator.dumps())
    assert plain(again.feed(1e9, [5.0] * SERIES)) == plain(estimator.feed(1e9, [5.0] * SERIES))


@given(rows=st.lists(st.lists(VALUES, min_size=SERIES, max_size=SERIES), max_size=60))
@settings(max_examples=15, deadline=None)
def test_a_host_takes_any_numbers_without_a_complaint(rows: list[list[float]]) -> None:
    estimator = Whole()
    fed(estimator, walk(40))
    fed(estimator, rows, 40)

    assert estimator.again(estimator.dumps()).dumps() == estimator.dumps()


@given(rest=st.lists(st.lists(VALUES, min_size=SERIES, max_size=SERIES), max_size=30))
@settings(max_examples=5, deadline=None)
@pytest.mark.parametrize("kind", ONLINE)
def test_what_comes_later_changes_no_result_of_before(kind: str, rest: list[list[float]]) -> None:
    rows, known, other = walk(60), ONLINE[kind](), ONLINE[kind]()
    results = [known.feed(10.0 * at, row) for at, row in enumerate(rows + rows[::-1])]
    others = [other.feed(10.0 * at, row) for at, row in enumerate(rows + rest)]

    # Compared only now: a result that lived in the estimator's memory would have changed since.
    assert plain(results[:60]) == plain(others[:60])


@given(ticks=TICKS, step_s=st.sampled_from([10.0, 300.0]))
@settings(max_examples=20, deadline=None)
def test_a_bank_scores_any_series_as_single_detectors_do(ticks: Any, step_s: float) -> None:
    alone, together = Alone(), Together()
    for at, row in enumerate(walk(200)):
        alone.feed(step_s * at, row)
        together.feed(step_s * at, row)
    for at_s, values in at_times(ticks, 200 * step_s):
        single = alone.feed(at_s, values)
        assert together.feed(at_s, values).tolist() == pytest.approx(single, abs=1e-9)
        assert all(0 <= score <= 1 for score in single)
    for at, one in enumerate(alone.each):
        assert together.bank.evidence[at] == pytest.approx(one.evidence, abs=1e-6)


def test_series_that_come_and_go_leave_the_others_of_a_bank_as_they_were() -> None:
    rows, bank = walk(800), AnomalyBank(SERIES)
    left, late = AnomalyBank(SERIES), AnomalyDetector()
    for at, row in enumerate(rows):
        if at == 400:
            bank.select(np.array([2, -1, 0]), counters=[False] * SERIES)
        before = late.update(300.0 * at, row[1] if at >= 400 else math.nan)
        whole = left.update(300.0 * at, row)
        order = [2, 1, 0] if at >= 400 else [0, 1, 2]
        found = bank.update(300.0 * at, [row[place] for place in order])
        if at < 400:
            assert found.tolist() == whole.tolist()
        else:
            assert [found[0], found[2]] == [whole[2], whole[0]]
            # A series that comes late is as one that was missing until then.
            assert found[1] == pytest.approx(before, abs=1e-9)


def test_a_counter_that_begins_anew_is_taken(online: Any) -> None:
    rows = np.array(walk(400))
    rows[200:, 0] -= rows[200, 0]
    fed(online, rows.tolist())

    online.again(online.dumps())


def test_the_same_past_gives_the_same_result(at_once: Any) -> None:
    times, values = np.arange(300.0) * 60, np.array(walk(300))[:, 0] / 10

    assert plain(at_once(times, values)) == plain(at_once(times, values.copy()))


@pytest.mark.parametrize("value", [each for each in HOSTILE if math.isfinite(each)])
def test_a_constant_has_a_result(at_once: Any, value: float) -> None:
    at_once(np.arange(100.0), np.full(100, value))


def test_holes_and_infinities_have_a_result(at_once: Any) -> None:
    values = RANDOM.choice([1.0, 2.0, math.nan, math.inf, -math.inf], 200)
    times = np.sort(RANDOM.uniform(0, 1e6, 200))

    at_once(times, values)


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=30, max_size=60),
    step_s=st.sampled_from([1.0, 10.0, 300.0, 86_400.0]),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("kind", AT_ONCE)
def test_any_past_has_a_result(kind: str, values: list[float], step_s: float) -> None:
    AT_ONCE[kind](np.arange(len(values)) * step_s, np.array(values))
