"""A patch makes the later frame of the earlier one, whatever the two are."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from outrider.web import delta


def applied(before: Any, patch: list[Any]) -> Any:
    """Do what ``static/delta.js`` does."""
    kind, given_, *more = patch
    if kind == 0:
        return given_
    if kind == 3:
        (end,) = more
        return [*before[given_ : given_ + len(before) - len(end)], *end]
    after = dict(before) if kind == 1 else list(before)
    for name, part in given_.items():
        place = name if kind == 1 else int(name)
        after[place] = applied(before[place], part)
    return after


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_a_patch_makes_the_one_of_the_other(before: Any, after: Any) -> None:
    patch = delta.between(before, after)
    assert (before if patch is None else applied(before, patch)) == after


@given(st.lists(st.none() | st.integers(0, 9), min_size=8, max_size=20), st.integers(0, 2))
def test_a_series_that_moves_on_costs_its_new_readings(values: list[Any], gone: int) -> None:
    after = [*values[gone:], *range(100, 100 + gone)]
    patch = delta.between({"s": values, "t": 1}, {"s": after, "t": 1})
    assert gone == 0 or patch is not None
    if patch is not None:
        assert len(patch[1]["s"][2]) <= 2
        assert applied({"s": values, "t": 1}, patch) == {"s": after, "t": 1}


def test_what_is_the_same_costs_nothing() -> None:
    assert delta.between({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) is None
