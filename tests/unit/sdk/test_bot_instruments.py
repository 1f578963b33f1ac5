"""Counters and timers: exact whoever counts, bounded, and what they do with odd numbers."""

from __future__ import annotations

import math
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from outrider import sketch
from outrider.sdk import instruments
from outrider.sdk.instruments import Counter, Timer
from outrider.sdk.timed import FOLD_AT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS, EACH = 8, 20_000


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads change as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[], object], meanwhile: Callable[[], object]) -> None:
    """Run in many threads at once, and something else in this one until they are done."""
    start = threading.Barrier(THREADS + 1)

    def run() -> None:
        start.wait()
        for _ in range(EACH):
            work()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        meanwhile()
    for thread in threads:
        thread.join()


class Careless:
    """A counter as one would write it first."""

    def __init__(self) -> None:
        self.sum = 0.0

    def add(self) -> None:
        self.sum = self.sum + float(1)

    def total(self) -> float:
        return self.sum


def test_no_increment_of_any_thread_is_lost(hasty: None) -> None:
    counter, timer = Counter(), Timer(Counter)

    def work() -> None:
        counter.add()
        counter.add(2)
        timer.observe(0.5)

    together(work, lambda: (counter.total(), timer.state()))

    assert counter.total() == 3 * THREADS * EACH
    count, total_s, _, buckets = timer.state()
    assert (count, total_s) == (THREADS * EACH, THREADS * EACH / 2)
    assert buckets == {sketch.index(0.5): THREADS * EACH}


def test_the_same_threads_would_show_a_loss(hasty: None) -> None:
    for _ in range(50):
        careless = Careless()
        together(careless.add, careless.total)
        if careless.total() < THREADS * EACH:
            return
    raise AssertionError("nothing was lost: the test above proves nothing here")


def test_the_longest_is_told_once_whoever_asks_while_threads_time(hasty: None) -> None:
    timer = Timer(Counter)
    told: list[float] = []
    numbers = iter(range(1, THREADS * EACH + 1))
    taking = threading.Lock()

    def work() -> None:
        with taking:
            number = next(numbers)
        timer.observe(float(number))

    together(work, lambda: told.append(timer.state()[2]))
    told.append(timer.state()[2])

    assert max(told) == THREADS * EACH
    assert told.count(THREADS * EACH) == 1


def test_what_waits_to_be_added_up_is_bounded_although_nobody_asks() -> None:
    counter, timer = Counter(), Timer(Counter)
    for number in range(10 * FOLD_AT + 3):
        counter.add()
        timer.observe(number)
        assert max(len(counter._pending), len(timer.pending)) < FOLD_AT

    assert counter.total() == 10 * FOLD_AT + 3


@pytest.mark.parametrize("kind", ["counter", "timer"])
def test_threads_that_do_nothing_but_count_wait_for_who_adds_up(kind: str, hasty: None) -> None:
    counter, timer = Counter(), Timer(Counter)
    pending = counter._pending if kind == "counter" else timer.pending
    most = 0

    def work() -> None:
        nonlocal most
        if kind == "counter":
            counter.add()
        else:
            timer.observe(0.5)
        most = max(most, len(pending))

    together(work, lambda: None)

    assert most <= instruments.MOST_WAITING + THREADS


def test_who_counts_while_the_same_counter_is_added_up_is_not_held_up() -> None:
    counter = Counter()

    class Meddler:
        def __ge__(self, other: object) -> bool:
            return True

        def __float__(self) -> float:
            for _ in range(2 * FOLD_AT):
                counter.add()
            return 1.0

    meddler: Any = Meddler()
    counter.add(meddler)

    assert counter.total() == 1
    assert counter.total() == 1 + 2 * FOLD_AT


def test_a_lock_that_is_never_let_go_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "FOLD_WITHIN_S", 0.01)
    counter, timer = Counter(), Timer(Counter)
    counter.add(5)
    timer.observe(0.5)
    assert (counter.total(), timer.state()[0]) == (5, 1)

    with counter._adding, timer._adding:
        for _ in range(3 * FOLD_AT):
            counter.add()
            timer.observe(0.25)
        assert (counter.total(), timer.state()[:2]) == (5, (1, 0.5))

    assert (counter.total(), timer.state()[0]) == (5 + 3 * FOLD_AT, 1 + 3 * FOLD_AT)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1, 10**400, 1e301])
def test_what_no_counter_can_hold_is_refused_and_counted(bad: float) -> None:
    counter = Counter()
    counter.add(3)
    counter.add(bad)
    counter.add(4)

    assert (counter.total(), counter.refused) == (7, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 10**400, 1e301])
def test_a_duration_that_is_not_finite_is_refused_and_counted(bad: float) -> None:
    timer = Timer(Counter)
    timer.observe(0.5)
    timer.observe(bad)

    assert timer.state()[:3] == (1, 0.5, 0.5)
    assert timer.refused == 1


def test_a_total_stays_finite() -> None:
    counter, timer = Counter(), Timer(Counter)
    for _ in range(10 * FOLD_AT):
        counter.add(instruments.MOST)

    assert counter.total() == instruments.MOST
    assert timer.state() == (0, 0.0, 0.0, {})


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [(-1.0, 0.0), (-math.inf, 0.0), (1e12, sketch.LARGEST), (1e-12, 1e-12), (0, 0.0), (True, 1.0)],
)
def test_a_duration_beyond_the_ends_counts_as_the_end(seconds: float, kept: float) -> None:
    timer = Timer(Counter)
    timer.observe(seconds)

    assert timer.state() == (1, kept, kept, {sketch.index(kept): 1})


def test_a_timer_has_no_more_buckets_than_a_histogram_may_have() -> None:
    timer = Timer(Counter)
    for exponent in range(-16_000, 16_000):
        timer.observe(10 ** (exponent / 1000))
    count, _, _, buckets = timer.state()

    assert count == 32_000
    assert len(buckets) <= sketch.MOST_BUCKETS
    assert sketch.is_sound(buckets)


def test_buckets_are_a_copy() -> None:
    timer = Timer(Counter)
    timer.observe(0.5)
    timer.state()[3].clear()

    assert timer.state()[0] == 1


def test_errors_are_counted_by_what_the_timer_was_given() -> None:
    errors = Counter()
    timer = Timer(lambda: errors)
    with pytest.raises(KeyError), timer.timed():
        raise KeyError("x")

    assert (errors.total(), timer.state()[0]) == (1, 1)
