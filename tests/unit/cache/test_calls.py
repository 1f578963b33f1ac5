from __future__ import annotations

import datetime as dt
import enum
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.cache.calls import LONGEST_KEY, Calls, canonical
from outrider.errors import BadArgument

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


class Side(enum.Enum):
    BUY = 1
    SELL = 2


def price(symbol: str, side: str = "buy", *, depth: int = 1) -> None: ...


def anything(*args: Any, **kwargs: Any) -> None: ...


def key(*args: Any, **kwargs: Any) -> str:
    return Calls(anything).of(args, kwargs).key


def test_position_name_and_default_give_one_key() -> None:
    calls = Calls(price)
    assert calls.of(("BTC",), {}).key == '["BTC","buy"]{"depth":1}'
    assert calls.of(("BTC",), {}) == calls.of((), {"depth": 1, "side": "buy", "symbol": "BTC"})


def test_a_call_that_does_not_fit_raises_as_the_function_would() -> None:
    with pytest.raises(TypeError, match="symbol"):
        Calls(price).of((), {})


def test_values_that_compare_equal_have_keys_of_their_own() -> None:
    keys = {key(1), key(True), key(1.0), key("1"), key([1]), key((1,)), key({"1": 1}), key(None)}
    assert len(keys) == 8


def test_the_order_of_a_dict_does_not_matter() -> None:
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})


def test_dates_enums_and_uuids_have_keys_but_are_not_replayable() -> None:
    values = [
        Side.BUY, Side.SELL, b"\x00", b"00", uuid.UUID(int=1), Decimal("1.0"), Decimal("1.00"),
        dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.timedelta(days=1),
    ]  # fmt: skip
    calls = [canonical((value,), {}) for value in values]
    assert len(values) == len({call.key for call in calls})
    assert not any(call.replayable for call in calls)


@pytest.mark.parametrize("value", [(1, 2), 2**70, "\ud800", [(1,)], {"a": {"\ud800": 1}}])
def test_what_json_would_change_is_not_replayable(value: Any) -> None:
    assert not canonical((value, 1), {}).replayable


def test_one_argument_that_is_not_replayable_does_not_hide_the_others() -> None:
    assert key((1,), "a") != key((1,), "b")


@pytest.mark.parametrize("value", [object(), {1: "a"}, {"a": object()}, print, {1, 2}])
def test_what_names_no_key_is_refused_with_the_functions_name(value: Any) -> None:
    with pytest.raises(BadArgument, match=r"argument .* of .*anything is a .* names no cache key"):
        key(value)


def test_long_arguments_become_a_digest() -> None:
    assert len(key("x" * 10_000)) == 32
    assert key("x" * 10_000) != key("x" * 10_001)
    assert len(key("x" * (LONGEST_KEY - 4))) == LONGEST_KEY


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from outrider.cache.calls import canonical;"
        "print(canonical(('é', {'b': 1.5, 'a': [None, True]}), {'z': 2}).key)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert canonical(("é", {"b": 1.5, "a": [None, True]}), {"z": 2}).key == found


@given(st.tuples(plain, plain), st.tuples(plain, plain))
def test_different_arguments_never_share_a_key(
    one: tuple[Any, Any], other: tuple[Any, Any]
) -> None:
    same_key = canonical(one, {}).key == canonical(other, {}).key
    assert same_key == (repr_of(one) == repr_of(other))


def repr_of(value: Any) -> str:
    """Tell types apart as ``==`` does not, and forget the order of dicts."""
    if isinstance(value, dict):
        return repr(sorted((name, repr_of(inner)) for name, inner in value.items()))
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{[repr_of(inner) for inner in value]}"
    return f"{type(value).__name__} {value!r}"
