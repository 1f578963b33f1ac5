from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outrider.cache.outbox import Change, Outbox


def write(key: str, namespace: str = "n", message: bytes = b"v") -> Change:
    return Change(kind="w", namespace=namespace, key=key, message=message)


def invalidate(key: str, namespace: str = "n") -> Change:
    return Change(kind="k", namespace=namespace, key=key)


def flush(namespace: str = "n") -> Change:
    return Change(kind="n", namespace=namespace)


def filled(*changes: Change, most: int = 100, most_bytes: int = 1000) -> Outbox:
    outbox = Outbox(most=most, most_bytes=most_bytes)
    for change in changes:
        outbox.add(change)
    return outbox


def test_changes_are_owed_in_order_and_once() -> None:
    outbox = filled(write("a"), invalidate("b"), write("c"))
    assert outbox.take() == [write("a"), invalidate("b"), write("c")]
    assert outbox.take() == []


def test_the_last_change_of_a_key_replaces_those_before_it() -> None:
    outbox = filled(write("a"), write("b"), write("a", message=b"newer"), invalidate("b"))
    assert outbox.take() == [write("a", message=b"newer"), invalidate("b")]


def test_an_invalidation_stays_when_the_key_is_written_after_it() -> None:
    # The write may be refused when it is sent; what stood there before must go all the same.
    assert filled(invalidate("a"), write("a")).take() == [invalidate("a"), write("a")]


def test_flushing_a_namespace_stands_for_all_before_it_and_for_no_other() -> None:
    outbox = filled(write("a"), invalidate("b"), write("a", "other"), flush(), write("c"))
    assert outbox.take() == [write("a", "other"), flush(), write("c")]


def test_beyond_the_bound_the_namespace_is_owed_a_flush_and_the_loss_is_counted() -> None:
    outbox = filled(write("a"), invalidate("b"), write("c", "other"), invalidate("d"), most=3)
    assert outbox.overflowed == 3
    assert outbox.take() == [write("c", "other"), flush()]


def test_a_value_too_large_becomes_an_invalidation() -> None:
    outbox = filled(write("a", message=b"x" * 600), write("b", message=b"x" * 600))
    assert outbox.take() == [write("a", message=b"x" * 600), invalidate("b")]


def test_the_bytes_of_what_was_taken_or_replaced_are_free_again() -> None:
    large = write("a", message=b"x" * 900)
    outbox = filled(large, invalidate("a"))
    outbox.add(large)
    outbox.take()
    outbox.add(large)
    assert outbox.take() == [large]


def test_what_was_sent_in_vain_goes_before_what_came_later() -> None:
    outbox = filled(write("a", message=b"newer"))
    outbox.put_back([invalidate("a"), write("b"), write("a", message=b"older")])
    assert outbox.take() == [invalidate("a"), write("b"), write("a", message=b"newer")]


CHANGES = st.builds(
    Change,
    kind=st.sampled_from("wwkkn"),
    namespace=st.sampled_from("pq"),
    key=st.sampled_from("abcd"),
    message=st.binary(max_size=3),
)


def applied(changes: list[Change]) -> dict[tuple[str, str], bytes | None]:
    """Return what a server has after changes; None: nothing, for it was invalidated."""
    held: dict[tuple[str, str], bytes | None] = {
        (namespace, key): b"before" for namespace in "pq" for key in "abcd"
    }
    for change in changes:
        if change.kind == "n":
            held |= {place: None for place in held if place[0] == change.namespace}
        else:
            place = (change.namespace, change.key)
            held[place] = change.message if change.kind == "w" else None
    return held


@given(st.lists(CHANGES.map(lambda c: flush(c.namespace) if c.kind == "n" else c), max_size=40))
def test_what_is_left_does_the_same_as_everything_would(changes: list[Change]) -> None:
    assert applied(filled(*changes).take()) == applied(changes)


@given(st.lists(CHANGES.map(lambda c: flush(c.namespace) if c.kind == "n" else c), max_size=40))
def test_a_bound_never_brings_back_what_was_invalidated(changes: list[Change]) -> None:
    outbox = filled(*changes, most=3)
    assert len(outbox) <= 3 + 2  # a flush for each namespace comes on top
    kept = applied(outbox.take())
    for place, value in applied(changes).items():
        assert kept[place] in (value, None)
