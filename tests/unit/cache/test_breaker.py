from __future__ import annotations

from typing import Any

from outrider.cache.breaker import LONGEST_S, SHORTEST_S, Breaker


def middle(shortest_s: float, longest_s: float) -> float:
    return (shortest_s + longest_s) / 2


def test_a_closed_breaker_lets_everybody_through(clock: Any) -> None:
    breaker = Breaker(clock=clock)
    assert breaker.allows()
    assert breaker.allows()
    assert not breaker.is_open


def test_one_failure_keeps_everybody_away(clock: Any) -> None:
    breaker = Breaker(clock=clock)
    assert breaker.allows()
    assert breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()


def test_after_the_back_off_one_caller_probes(clock: Any) -> None:
    breaker = Breaker(clock=clock, jitter=middle)
    breaker.failed()
    clock.advance(1.25)
    assert breaker.might_allow()
    assert [breaker.allows(), breaker.allows(), breaker.might_allow()] == [True, False, False]


def test_a_probe_that_succeeds_closes_it(clock: Any) -> None:
    breaker = Breaker(clock=clock, jitter=middle)
    breaker.failed()
    clock.advance(1.25)
    breaker.allows()
    assert breaker.succeeded()
    assert breaker.allows()
    assert not breaker.is_open


def test_a_probe_that_fails_starts_another_back_off(clock: Any) -> None:
    breaker = Breaker(clock=clock, jitter=middle)
    breaker.failed()
    clock.advance(1.25)
    breaker.allows()
    assert not breaker.failed()
    assert not breaker.allows()
    clock.advance(1.25)
    assert breaker.allows()
    assert breaker.opened == 1


def test_the_back_off_is_jittered_within_its_bounds(clock: Any) -> None:
    waits = []

    def record(shortest_s: float, longest_s: float) -> float:
        waits.append((shortest_s, longest_s))
        return shortest_s

    Breaker(clock=clock, jitter=record).failed()
    assert waits == [(SHORTEST_S, LONGEST_S)] == [(0.5, 2.0)]
