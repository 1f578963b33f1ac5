from __future__ import annotations

from typing import Any

import pytest

from outrider.cache.held import Held
from outrider.cache.shelf import Shelf


@pytest.fixture
def shelf(clock: Any) -> Shelf:
    return Shelf(100, clock=clock)


def value_of(held: Any) -> Any:
    return None if held is None else held.value


def test_memory_has_a_value_until_it_is_due_and_the_reserve_until_it_dies(
    shelf: Shelf, clock: Any
) -> None:
    held = Held("v", kept_s=clock.monotonic(), fresh_s=60, stale_s=30, ahead_s=5)
    shelf.put("k", held)
    clock.advance(54)
    assert value_of(shelf.memory.get("k")) == "v"
    clock.advance(2)
    assert shelf.memory.get("k") is None
    assert shelf.reserved("k") is held
    clock.advance(34)
    assert shelf.reserved("k") is None


def test_an_error_is_out_of_the_reach_of_hits(shelf: Shelf, clock: Any) -> None:
    shelf.put("k", Held("v", kept_s=clock.monotonic(), fresh_s=60))
    error = LookupError("gone")
    shelf.put("k", Held(None, kept_s=clock.monotonic(), fresh_s=60, error=error))
    assert shelf.memory.get("k") is None
    reserved = shelf.reserved("k")
    assert reserved is not None
    assert reserved.error is error


def test_what_is_distrusted_is_out_of_the_reach_of_hits_until_it_is_cleared(
    shelf: Shelf, clock: Any
) -> None:
    shelf.put("k", Held("v", kept_s=clock.monotonic(), fresh_s=60))
    shelf.distrust()
    assert (shelf.memory.get("k"), shelf.is_trusted) == (None, False)
    assert value_of(shelf.reserved("k")) == "v"
    shelf.clear()
    assert (shelf.reserved("k"), shelf.is_trusted) == (None, True)


def test_what_may_not_be_heard_of_is_kept_for_so_long_only(shelf: Shelf, clock: Any) -> None:
    shelf.put("k", Held("v", kept_s=clock.monotonic(), fresh_s=60), most_s=1.0)
    clock.advance(1.5)
    assert (shelf.memory.get("k"), shelf.reserved("k")) == (None, None)


def test_only_what_the_reserve_still_has_comes_back_to_memory(shelf: Shelf, clock: Any) -> None:
    held = Held("v", kept_s=clock.monotonic(), fresh_s=60)
    shelf.put("k", held)
    shelf.memory.delete("k")
    shelf.recall("k", held)
    assert shelf.memory.get("k") is held
    shelf.drop("k")
    shelf.recall("k", held)
    assert shelf.memory.get("k") is None


def test_tags_lead_to_their_keys_alone(shelf: Shelf, clock: Any) -> None:
    for key, tags in (("a", ("x", "y")), ("b", ("y",)), ("c", ())):
        shelf.put(key, Held(key, kept_s=clock.monotonic(), fresh_s=60, tags=tags))
    assert shelf.drop_tag("x") == ["a"]
    assert [value_of(shelf.reserved(key)) for key in "abc"] == [None, "b", "c"]
    assert shelf.drop_tag("unknown") == []
