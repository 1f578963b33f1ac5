from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.sdk.integrations import meter
from outrider.sdk.integrations.meter import LONGEST, Meter, Names
from outrider.sdk.integrations.updates import Updates
from tests.recorder import Recorder

if TYPE_CHECKING:
    import outrider


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def measuring(recorder: Recorder) -> Meter:
    return Meter(cast("outrider.Bot", recorder))


@given(st.text())
def test_whatever_a_thing_is_called_its_series_has_a_plain_bounded_name(raw: str) -> None:
    name = Names("handler", most=3)(raw)
    assert name.startswith("handler.")
    assert len(f"{name}.cancelled") <= LONGEST
    assert name.isascii()
    assert not set(name) & set(" /<>:\n")


def test_names_beyond_the_most_share_one() -> None:
    names = Names("api", most=2)
    assert [names(raw) for raw in "abca"] == ["api.a", "api.b", "api.other", "api.a"]
    assert names("d" * 1000) == "api.other"


class Callable:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


class Odd:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (Callable().method, "Callable.method"),
        (Callable(), "Callable"),
        (Callable, "Callable"),
        (functools.partial(functools.partial(Callable().method)), "Callable.method"),
        (len, "len"),
    ],
)
def test_handlers_go_by_their_qualified_names(callback: Any, expected: str) -> None:
    assert expected == meter.name_of(callback)


def test_two_lambdas_are_told_apart(measuring: Meter) -> None:
    def first() -> Any:
        return lambda: None

    def second() -> Any:
        return lambda: None

    updates = Updates(measuring)
    one, two = updates.handler(first()), updates.handler(second())
    assert one.startswith("handler.lambda_")
    assert one != two


def test_a_handler_whose_name_can_not_be_told_is_still_called(
    measuring: Meter, recorder: Recorder
) -> None:
    assert Updates(measuring).handler(Odd()) == "handler.unnamed"
    assert recorder.counters == {"instrument.errors": 1}


def test_a_look_that_fails_is_counted_and_its_place_logged_once(
    measuring: Meter, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> None:
        raise ZeroDivisionError

    guarded = measuring.guard(look)
    with caplog.at_level(logging.ERROR):
        guarded()
        guarded()

    assert recorder.counters == {"instrument.errors": 2}
    assert [record.name for record in caplog.records] == ["outrider.instrument"]
    assert "the bot goes on" in caplog.text


def test_what_is_watched_returns_and_raises_as_it_did() -> None:
    seen: list[tuple[Any, ...]] = []

    def look(
        args: Any, kwargs: Any, start: float, error: BaseException | None, result: Any
    ) -> None:
        assert start <= meter.now()
        seen.append((meter.given(args, kwargs, 0, "x"), type(error), result))

    def half(x: int) -> float:
        return 1 / x

    async def half_later(x: int) -> float:
        return half(x)

    watched, later = meter.watched(half, look), meter.watched_async(half_later, look)
    assert watched(2) == 0.5
    with pytest.raises(ZeroDivisionError) as raised:
        watched(x=0)
    assert raised.value.__context__ is None
    assert asyncio.run(later(x=4)) == 0.25
    with pytest.raises(ZeroDivisionError):
        asyncio.run(later(0))

    none = type(None)
    assert seen == [
        (2, none, 0.5), (0, ZeroDivisionError, None), (4, none, 0.25), (0, ZeroDivisionError, None),
    ]  # fmt: skip
    assert meter.is_watched(watched)
    assert meter.is_watched(later)
    assert not meter.is_watched(half)


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1

    def get(self) -> int:
        return self.value


def test_an_object_without_room_gets_methods_of_its_own_and_stays_what_it_was() -> None:
    one, other = Slotted(), Slotted()
    meter.subclass(one, get=lambda self: Slotted.get(self) + 1)

    assert (one.get(), other.get()) == (2, 1)
    assert isinstance(one, Slotted)
    assert repr(type(one)) == repr(Slotted)


def test_a_cancelled_call_is_no_error(measuring: Meter, recorder: Recorder) -> None:
    types = Names("x.errors", most=2, ending=0)
    measuring.ended("x", meter.now(), asyncio.CancelledError(), types)
    measuring.ended("x", meter.now(), KeyError("k"), types)
    measuring.ended("x", meter.now(), None, types)

    assert recorder.counters == {"x.cancelled": 1, "x.errors": 1, "x.errors.KeyError": 1}
    assert recorder.timed("x") == {"x": 3}


def test_two_dispatchers_of_one_bot_share_what_counts_together(
    measuring: Meter, recorder: Recorder
) -> None:
    assert measuring.part(Updates) is measuring.part(Updates)
    measuring.part(Updates).waiting += [lambda: 2.0, lambda: None, lambda: 3.0]
    assert recorder.gauges == {"updates.in_flight": 0, "updates.backlog": 5}
