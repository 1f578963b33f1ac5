from __future__ import annotations

import asyncio
import datetime as dt
import enum
import inspect
import math
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from outrider.sdk import wrapper

if TYPE_CHECKING:
    from collections.abc import Mapping


class Entry:
    def __init__(self, shown: Any, kind: Any) -> None:
        self.shown, self.kind, self.served = shown, kind, 0


class Missed:
    """Records what was not in the table."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], Mapping[str, Any]]] = []

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        self.calls.append((args, kwargs))
        return "missed"


def one(user_id: Any) -> None: ...
def two(user_id: Any, /, lang: str = "en") -> None: ...
def named(user_id: Any, *, lang: str = "en", page: int = 1) -> None: ...
def none() -> None: ...
def many(*ids: int, **options: int) -> None: ...
def awkward(table: Any, entry: Any = 1, kind: Any = 2, type: Any = 3) -> None: ...  # noqa: A002


def test_a_value_in_the_table_is_served_and_counted() -> None:
    missed = Missed()
    table = {"a": Entry("A", str)}
    call = wrapper.wrap(one, table, missed)
    assert [call("a"), call(user_id="a"), call("b")] == ["A", "A", "missed"]
    assert table["a"].served == 2
    assert missed.calls == [(("b",), {})]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (two, (1,), {}, ((1, "en"), {})),
        (two, (1,), {"lang": "de"}, ((1, "de"), {})),
        (named, (), {"page": 3, "user_id": 1}, ((1,), {"lang": "en", "page": 3})),
        (none, (), {}, ((), {})),
        (many, (1, 2), {"a": 3}, ((1, 2), {"a": 3})),
        (awkward, (0,), {"type": 9}, ((0, 1, 2, 9), {})),
        (one, ([1],), {}, (([1],), {})),
    ],
)
def test_arguments_come_in_one_order_however_they_are_given(
    function: Any, args: Any, kwargs: Any, expected: Any
) -> None:
    missed = Missed()
    assert wrapper.wrap(function, {}, missed)(*args, **kwargs) == "missed"
    assert missed.calls == [expected]


@pytest.mark.parametrize("function", [one, two, named, none, many, awkward])
def test_the_wrapper_looks_like_what_it_wraps(function: Any) -> None:
    call = wrapper.wrap(function, {}, Missed())
    assert inspect.signature(call) == inspect.signature(function)
    assert (call.__name__, call.__module__) == (function.__name__, function.__module__)
    assert call.__wrapped__ is function


def test_wrong_arguments_are_refused_by_the_functions_name() -> None:
    with pytest.raises(TypeError, match=r"two\(\) missing 1 required positional argument"):
        wrapper.wrap(two, {}, Missed())()
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        wrapper.wrap(two, {}, Missed())(1, x=2)


class Text(enum.StrEnum):
    A = "a"


def test_equal_arguments_of_other_types_are_other_calls() -> None:
    table: dict[Any, Any] = {1: Entry("int", int), "a": Entry("str", str)}
    call = wrapper.wrap(one, table, Missed())
    assert [call(1), call(True), call(1.0), call("a"), call(Text.A)] == [
        "int", "missed", "missed", "str", "missed",
    ]  # fmt: skip
    pair = wrapper.wrap(two, {(1, "en"): Entry("pair", (int, str))}, Missed())
    assert [pair(1), pair(True), pair(1.0, "en")] == ["pair", "missed", "missed"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("a",), str),
        ((1, b"x", None), (int, bytes, type(None))),
        ((uuid.UUID(int=1), dt.date(2024, 1, 2)), (uuid.UUID, dt.date)),
        ((1.5,), float),
        ((-0.0,), None),  # equal to 0.0, and another key
        (([1],), None),
        (((1, 2),), None),  # equal to (True, 2.0)
        ((object(),), None),
        ((), ()),
    ],
)
def test_only_calls_with_flat_arguments_may_be_shown(values: Any, expected: Any) -> None:
    assert wrapper.kind(values) == expected


def test_a_value_taken_out_between_two_steps_is_missed() -> None:
    entry = Entry("A", str)
    del entry.shown
    assert wrapper.wrap(one, {"a": entry}, Missed())("a") == "missed"


def test_nan_is_missed_every_time() -> None:
    table: dict[Any, Any] = {}
    call = wrapper.wrap(one, table, Missed())
    assert call(math.nan) == "missed"


def test_a_coroutine_function_stays_one() -> None:
    async def load(user_id: int) -> str:
        return "loaded"

    async def miss(args: Any, _kwargs: Any) -> str:
        return f"missed {args}"

    call = wrapper.wrap(load, {1: Entry("A", int)}, miss)
    assert inspect.iscoroutinefunction(call)

    async def main() -> list[str]:
        return [await call(1), await call(user_id=2)]

    assert asyncio.run(main()) == ["A", "missed (2,)"]
