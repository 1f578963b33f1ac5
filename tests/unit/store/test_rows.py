from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.errors import BadArgument, StoreError
from outrider.samples import Window
from outrider.store import rows

NAMES = ("a", "b")
WINDOW = Window(NAMES, np.array([10.0, 20.0, 30.0]), np.arange(6.0).reshape(3, 2))


@given(
    values=st.dictionaries(st.text(max_size=10), st.floats(), max_size=8),
)
def test_a_row_comes_back_as_it_was_packed(values: dict[str, float]) -> None:
    schema_id, names = rows.schema_of(values)
    schemas = {schema_id: rows.names_of(rows.shrunk(names))}
    unpacked = rows.unpack(rows.pack(schema_id, values), schemas)

    assert list(values) == list(unpacked)
    assert list(values.values()) == pytest.approx(
        list(unpacked.values()), rel=0, abs=0, nan_ok=True
    )


def test_rows_with_the_same_series_share_a_schema() -> None:
    assert rows.schema_of({"a": 1, "b": 2}) == rows.schema_of({"a": 3, "b": 4})
    assert rows.schema_of({"a": 1, "b": 2})[0] != rows.schema_of({"b": 2, "a": 1})[0]
    assert rows.schema_of({"a": 1})[0] != rows.schema_of({'a","b': 1})[0]


@pytest.mark.parametrize("change", [lambda row: row[:-1], lambda row: row + b"x", lambda _: b""])
def test_a_row_of_the_wrong_length_is_refused(change: object) -> None:
    schema_id, _ = rows.schema_of({"a": 1.0})
    assert callable(change)
    with pytest.raises(StoreError):
        rows.unpack(change(rows.pack(schema_id, {"a": 1.0})), {schema_id: ("a",)})


def test_damaged_rows_are_left_out_of_a_window() -> None:
    schema_id, _ = rows.schema_of({"a": 1.0})
    good = rows.pack(schema_id, {"a": 1.0})
    window = rows.to_window(
        [(3.0, good), (1.0, good), (2.0, b"nonsense"), (4.0, good[:-1])], {schema_id: ("a",)}
    )

    assert window.times_s.tolist() == [1.0, 3.0]


def test_windows_are_joined_series_by_series() -> None:
    other = Window(("b", "c"), np.array([40.0]), np.array([[7.0, 8.0]]))
    joined = rows.join([WINDOW, other])

    assert joined.names == ("a", "b", "c")
    assert joined.times_s.tolist() == [10.0, 20.0, 30.0, 40.0]
    assert rows.series_of(joined, "c")[1].tolist() == [8.0]
    assert rows.series_of(joined, "a")[1].tolist() == [0.0, 2.0, 4.0]
    assert rows.series_of(joined, "absent")[1].tolist() == []


def test_nothing_joined_is_an_empty_window() -> None:
    assert rows.join([]).values.shape == (0, 0)


@pytest.mark.parametrize(
    "kept", [b"", b"x", rows.shrunk(b"[1]"), rows.shrunk(b"{}"), rows.shrunk(b'["a"]')[:-1]]
)
def test_damaged_names_are_refused(kept: bytes) -> None:
    with pytest.raises(StoreError):
        rows.names_of(kept)


@pytest.mark.parametrize("value", ["x", None, [1.0], 10**400])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(BadArgument, match=r"^b = "):
        rows.pack(b"", {"a": 1.0, "b": value})  # type: ignore[dict-item]


def test_of_rows_of_one_time_the_last_window_counts() -> None:
    late = Window(("b", "z"), np.array([20.0, 5.0]), np.array([[7.0, 8.0], [9.0, 9.5]]))
    merged = rows.merged([WINDOW, late])

    assert merged.times_s.tolist() == [5.0, 10.0, 20.0, 30.0]
    assert merged.column("b").tolist() == [9.0, 1.0, 7.0, 5.0]
    assert rows.series_of(merged, "a")[0].tolist() == [10.0, 30.0]
    assert rows.series_of(merged, "z")[1].tolist() == [9.5, 8.0]


def test_the_newest_row_leaves_out_what_it_lacks() -> None:
    window = Window(("a", "b"), np.array([1.0]), np.array([[rows.MISSING, math.nan]]))

    assert list(rows.last_of(window)) == ["b"]
