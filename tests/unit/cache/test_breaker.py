from __future__ import annotations

from outrider.cache.breaker import LONGEST_S, SHORTEST_S, Breaker


def test_a_failure_opens_it_and_only_the_first_is_worth_a_word() -> None:
    breaker = Breaker()
    assert not breaker.is_open
    assert [breaker.failed(), breaker.failed()] == [True, False]
    assert (breaker.is_open, breaker.opened) == (True, 1)


def test_an_answer_closes_it_and_only_the_first_is_worth_a_word() -> None:
    breaker = Breaker()
    breaker.failed()
    assert [breaker.succeeded(), breaker.succeeded()] == [True, False]
    assert not breaker.is_open


def test_the_time_between_tries_is_jittered_within_its_bounds() -> None:
    asked = []

    def record(shortest_s: float, longest_s: float) -> float:
        asked.append((shortest_s, longest_s))
        return shortest_s

    assert Breaker(jitter=record).retry_in_s() == SHORTEST_S
    assert asked == [(SHORTEST_S, LONGEST_S)]
