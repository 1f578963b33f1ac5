from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache.flight import Flight, Flights

if TYPE_CHECKING:
    from collections.abc import Callable


def nothing() -> None: ...


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Run ``work`` in so many threads; return what each returned or raised."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_a_hundred_threads_load_once() -> None:
    flights, loads, joined = Flights(), [], threading.Semaphore(0)

    def load(_: Flight) -> str:
        loads.append(1)
        for _number in range(99):  # everybody else is waiting before the load ends
            assert joined.acquire(timeout=20)
        return "value"

    results = in_threads(100, lambda: flights.run("k", load, joined=joined.release))
    assert results == ["value"] * 100
    assert loads == [1]


def test_an_exception_reaches_all_who_wait_and_is_forgotten() -> None:
    flights, joined = Flights(), threading.Semaphore(0)

    def load(_: Flight) -> str:
        assert joined.acquire(timeout=20)
        raise LookupError("gone")

    results = in_threads(2, lambda: flights.run("k", load, joined=joined.release))
    assert [str(error) for error in results] == ["gone", "gone"]
    assert flights.run("k", lambda _: "back", joined=nothing) == "back"


def test_a_load_that_asks_for_its_own_key_does_not_wait_for_itself() -> None:
    flights = Flights()
    result = flights.run(
        "k", lambda _: flights.run("k", lambda _: "inner", joined=nothing) + "+", joined=nothing
    )
    assert result == "inner+"


def test_an_interrupted_load_is_taken_over_by_one_who_waits() -> None:
    flights, joined, attempts = Flights(), threading.Semaphore(0), []

    def load(_: Flight) -> str:
        attempts.append(1)
        if len(attempts) == 1:
            assert joined.acquire(timeout=20)
            raise KeyboardInterrupt
        return "value"

    def run() -> str:
        try:
            return flights.run("k", load, joined=joined.release)
        except KeyboardInterrupt:
            return "interrupted"

    assert sorted(in_threads(2, run)) == ["interrupted", "value"]


def test_who_comes_after_a_forget_does_not_join_the_old_load() -> None:
    flights = Flights()

    def load(flight: Flight) -> str:
        before = flight.is_void
        flights.forget("k", nothing)
        assert (before, flight.is_void) == (False, True)
        return flights.run("k", lambda newer: f"void: {newer.is_void}", joined=nothing)

    assert flights.run("k", load, joined=nothing) == "void: False"


def test_a_hundred_tasks_load_once() -> None:
    flights, loads = Flights(), []

    async def load(_: Flight) -> str:
        loads.append(1)
        await asyncio.sleep(0)
        return "value"

    async def main() -> list[str]:
        calls = (flights.run_async("k", load, joined=nothing) for _ in range(100))
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == ["value"] * 100
    assert loads == [1]


def test_a_cancelled_caller_does_not_take_the_value_from_the_others() -> None:
    flights = Flights()

    async def main() -> list[Any]:
        go = asyncio.Event()

        async def load(_: Flight) -> str:
            await go.wait()
            return "value"

        calls = [
            asyncio.create_task(flights.run_async("k", load, joined=nothing)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        calls[0].cancel()
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, *others = asyncio.run(main())
    assert isinstance(first, asyncio.CancelledError)
    assert others == ["value", "value"]


def test_a_loop_that_ends_in_mid_load_leaves_nothing_that_a_later_loop_would_wait_for() -> None:
    flights = Flights()

    async def never(_: Flight) -> str:
        return await asyncio.Future()

    async def abandon() -> None:
        task = asyncio.create_task(flights.run_async("k", never, joined=nothing))
        await asyncio.sleep(0)
        assert not task.done()

    async def load(_: Flight) -> str:
        return "value"

    asyncio.run(abandon())
    assert asyncio.run(flights.run_async("k", load, joined=nothing)) == "value"


def test_a_loop_closed_without_a_word_is_noticed() -> None:
    flights = Flights()
    loop = asyncio.new_event_loop()
    flights._flights["k"] = Flight(loop)
    loop.close()
    assert flights.run("k", lambda _: "value", joined=nothing) == "value"


def test_tasks_of_two_loops_load_once() -> None:
    flights, loads, joined = Flights(), [], threading.Semaphore(0)

    async def load(_: Flight) -> str:
        loads.append(1)
        assert await asyncio.to_thread(joined.acquire, timeout=20)
        return "value"

    async def one() -> str:
        return await flights.run_async("k", load, joined=joined.release)

    assert in_threads(2, lambda: asyncio.run(one())) == ["value", "value"]
    assert loads == [1]


def test_an_async_exception_is_raised_to_the_caller() -> None:
    flights = Flights()

    async def load(_: Flight) -> str:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        asyncio.run(flights.run_async("k", load, joined=nothing))


def test_what_a_void_flight_loaded_is_not_kept_unless_it_looks_anew() -> None:
    flights, kept = Flights(), []

    def load(flight: Flight) -> None:
        assert flights.keep(flight, lambda: kept.append("before"))
        flights.forget("k", lambda: kept.append("forgotten"))
        assert not flights.keep(flight, lambda: kept.append("void"))
        flights.renew("k", flight)
        assert flights.keep(flight, lambda: kept.append("anew"))

    flights.run("k", load, joined=nothing)
    assert kept == ["before", "forgotten", "anew"]
    assert "k" not in flights


def test_forgetting_all_makes_every_flight_void() -> None:
    flights = Flights()

    def load(flight: Flight) -> bool:
        flights.forget_all(nothing)
        return flight.is_void

    assert flights.run("k", load, joined=nothing)
