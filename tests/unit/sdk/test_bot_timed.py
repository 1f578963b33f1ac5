from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import BadArgument
from outrider.metrics import frame as frames
from outrider.sdk import bot as bots
from outrider.sdk.bot import Bot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that has made no bot yet; frames go out when asked, not by themselves."""
    monkeypatch.setattr(bots, "_CURRENT", [])
    monkeypatch.setattr(bots, "FLUSH_S", 3600.0)


class Told:
    """A bot, and what its last frame says."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.bot = Bot("canary", transport=self._keep)

    def _keep(self, message: bytes) -> bool:
        self.messages.append(message)
        return True

    def count(self, timing: str) -> int:
        return self.frame().timings[timing][0]

    def frame(self) -> frames.Frame:
        self.bot.flush()
        return frames.decode(self.messages[-1])


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_function_is_timed_at_each_call_and_stays_what_it_is(told: Told) -> None:
    @told.bot.timed("double")
    def double(number: int, *, plus: int = 0) -> int:
        """Double it."""
        return 2 * number + plus

    assert [double(2), double(3, plus=1)] == [4, 7]
    assert (double.__name__, double.__doc__) == ("double", "Double it.")
    assert told.count("double") == 2


def test_a_coroutine_function_is_timed_until_its_end_and_stays_one(told: Told) -> None:
    @told.bot.timed("wait")
    async def wait(number: int) -> int:
        await asyncio.sleep(0.02)
        return number

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*map(wait, range(5)))

    assert inspect.iscoroutinefunction(wait)
    assert asyncio.run(all_at_once()) == [0, 1, 2, 3, 4]
    count, total_s, _ = told.frame().timings["wait"]
    assert count == 5
    assert total_s >= 0.1


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError, SystemExit])
def test_a_function_that_raises_is_timed_and_counted_and_raises(
    error: type[BaseException], told: Told
) -> None:
    @told.bot.timed("fail")
    def fail() -> None:
        raise error

    @told.bot.timed("fail")
    async def fail_later() -> None:
        raise error

    with pytest.raises(error):
        fail()
    with pytest.raises(error):
        fail_later().send(None)

    assert told.count("fail") == 2
    assert told.frame().counters == {"fail.errors": 2}


def test_a_function_that_calls_itself_is_timed_at_each_call(told: Told) -> None:
    @told.bot.timed("down")
    def down(number: int) -> int:
        return number and down(number - 1)

    down(4)

    assert told.count("down") == 5


def test_methods_and_partials_are_timed(told: Told) -> None:
    class Thing:
        @told.bot.timed("method")
        def method(self) -> Thing:
            return self

    async def add(one: int, other: int) -> int:
        return one + other

    thing = Thing()
    partial: Any = told.bot.timed("partial")(functools.partial(add, 1))

    assert thing.method() is thing
    assert asyncio.run(partial(2)) == 3
    assert (told.count("method"), told.count("partial")) == (1, 1)


def test_a_generator_function_is_refused_since_calling_it_takes_no_time(told: Told) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(BadArgument, match=r"is a generator.*Time what matters inside"):
            told.bot.timed("numbers")(function)


def test_what_was_given_a_handle_or_decorated_is_told_from_the_start(told: Told) -> None:
    told.bot.counter("updates")
    told.bot.timer("handle")
    told.bot.timed("decorated")(lambda: None)
    with pytest.raises(TypeError):
        told.bot.observe("never", None)  # type: ignore[arg-type]
    frame = told.frame()

    assert frame.counters == {"updates": 0}
    assert frame.timings == {"handle": (0, 0, 0), "decorated": (0, 0, 0)}
    assert frame.buckets == {}


def test_a_handle_and_a_name_count_the_same(told: Told) -> None:
    updates, handle = told.bot.counter("updates"), told.bot.timer("handle")
    updates.add(2)
    told.bot.count("updates")
    handle.observe(0.5)
    told.bot.observe("handle", 0.25)
    with handle.timed():
        pass
    frame = told.frame()

    assert frame.counters == {"updates": 3}
    assert frame.timings["handle"][0] == 3
    assert told.bot.counter("updates") is updates


def test_handles_of_too_many_names_count_together(told: Told) -> None:
    handles = [told.bot.counter(f"user-{number}") for number in range(bots.MOST_NAMES + 2)]
    for handle in handles:
        handle.add()

    assert told.frame().counters[bots.OVERFLOW] == 2


def test_errors_of_the_timing_for_all_others_are_counted_together(told: Told) -> None:
    for number in range(bots.MOST_NAMES + 1):
        told.bot.observe(f"user-{number}", 1)
    with pytest.raises(KeyError), told.bot.timed("one more"):
        raise KeyError

    assert told.frame().counters == {f"{bots.OVERFLOW}.errors": 1}


def test_what_was_refused_is_told(told: Told) -> None:
    told.bot.count("c", float("nan"))
    told.bot.count("c", -1)
    told.bot.observe("t", float("inf"))
    frame = told.frame()

    assert frame.refused == 3
    assert frames.series(frame, now_s=0)["bot.canary.refused_total"] == 3


def test_histograms_of_every_name_fit_into_a_frame_or_are_counted_as_left_out(told: Told) -> None:
    for name in range(bots.MOST_NAMES):
        told.bot.count(f"{name}-" + "\U0001f600" * 100)
        for exponent in range(-900, 900, 3):
            told.bot.observe(str(name), 10 ** (exponent / 100))
    frame = told.frame()

    assert len(told.messages[-1]) <= frames.MOST_BYTES
    assert len(frame.counters) == len(frame.timings) == bots.MOST_NAMES
    assert len(frame.buckets) + frame.left_out == bots.MOST_NAMES
    assert frame.left_out > 0
