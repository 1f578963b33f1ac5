from __future__ import annotations

from typing import TYPE_CHECKING

from outrider import sketch
from outrider.sdk.instruments import Counter, Timer
from outrider.sdk.lag import LoopLag

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """An event loop's clock and timers, turned by hand."""

    def __init__(self) -> None:
        self.now, self.closed = 0.0, False
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + delay_s, call))

    def is_closed(self) -> bool:
        return self.closed

    def run(self, seconds: float, *, step_s: float = 0.25) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            ready = [call for at, call in self.due if at <= self.now]
            self.due = [(at, call) for at, call in self.due if at > self.now]
            for call in ready:
                call()


def lag_of(loop: Loop, history: Timer | None = None) -> LoopLag:
    return LoopLag(loop, history or Timer(Counter))  # type: ignore[arg-type]


def test_an_idle_loop_is_not_late() -> None:
    loop = Loop()
    lag = lag_of(loop)
    loop.run(10)

    assert lag.worst() == 0


def test_a_loop_was_as_late_as_at_its_worst_since_last_asked() -> None:
    loop = Loop()
    lag = lag_of(loop)
    loop.run(1)
    loop.run(2, step_s=2)
    loop.run(1)

    assert lag.worst() == 1.75
    assert lag.worst() == 0


def test_a_loop_that_hangs_is_late_before_it_goes_on() -> None:
    loop = Loop()
    lag = lag_of(loop)
    loop.now += 5

    assert lag.worst() == 4.75


def test_a_loop_that_ended_is_not_late() -> None:
    loop = Loop()
    lag = lag_of(loop)
    loop.now, loop.closed = 100.0, True

    assert lag.worst() == 0


def test_every_lateness_is_kept_and_what_any_idle_machine_has_counts_as_none() -> None:
    loop, history = Loop(), Timer(Counter)
    lag_of(loop, history)
    loop.run(1)
    loop.run(2, step_s=2)
    loop.run(0.5, step_s=0.2505)

    count, _, longest_s, buckets = history.state()
    assert (count, longest_s) == (7, 1.75)
    assert buckets[sketch.index(1.75)] == 1
    assert buckets[sketch.ZERO_BUCKET] == 6
