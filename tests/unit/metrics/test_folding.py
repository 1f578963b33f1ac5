from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outrider.metrics import folding

labels = st.dictionaries(st.text(max_size=60), st.text(max_size=300), max_size=20)


@given(st.text(max_size=400), labels, st.sampled_from(["", "_total", "_bytes", ".p95_s"]))
def test_whatever_others_send_becomes_a_bounded_plain_name(
    name: str, labels: dict[str, str], end: str
) -> None:
    folded = folding.fold(name, labels, end)

    assert len(folded) <= folding.LONGEST
    assert folded.endswith(end)
    assert set(folded) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert not folded.startswith(".")


def test_names_that_are_cut_stay_apart() -> None:
    one, other = (
        folding.fold("x" * 300 + "a", {}, "_total"),
        folding.fold("x" * 300 + "b", {}, "_total"),
    )

    assert one != other


def test_values_that_are_cut_stay_apart() -> None:
    assert folding.fold("x", {"path": "/a" * 90 + "1"}) != folding.fold(
        "x", {"path": "/a" * 90 + "2"}
    )


def test_the_order_of_labels_does_not_matter() -> None:
    assert folding.fold("x", {"b": "2", "a": "1"}) == folding.fold("x", {"a": "1", "b": "2"})
