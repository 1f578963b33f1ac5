from __future__ import annotations

import struct
import tracemalloc
import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.errors import StoreError
from outrider.samples import Window
from outrider.store import rows

NAMES = ("a", "b")
WINDOW = Window(NAMES, np.array([10.0, 20.0, 30.0]), np.arange(6.0).reshape(3, 2))
SEALED = rows.seal(WINDOW)


def forged(
    *, names: bytes = b'["a","b"]', ticks: int = 3, series: int = 2, packed: bytes | None = None
) -> bytes:
    """Return a block with a right checksum, whatever it holds."""
    packed = zlib.compress(bytes(9 * 8)) if packed is None else packed
    body = struct.pack("<III", len(names), ticks, series) + names + packed
    return struct.pack("<4sI", b"OR1\0", zlib.crc32(body)) + body


def same(one: Window, other: Window) -> bool:
    return (
        one.names == other.names
        and one.times_s.tobytes() == other.times_s.tobytes()
        and one.values.shape == other.values.shape
        and one.values.tobytes() == other.values.tobytes()
    )


@given(
    values=st.dictionaries(st.text(max_size=10), st.floats(), max_size=8),
)
def test_a_row_comes_back_as_it_was_packed(values: dict[str, float]) -> None:
    schema_id, names = rows.schema_of(values)
    schemas = {schema_id: tuple(msgspec.json.decode(names, type=list[str]))}
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


@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    numbers=st.lists(st.floats(), min_size=20, max_size=20),
)
def test_a_window_comes_back_as_it_was_sealed(shape: tuple[int, int], numbers: list[float]) -> None:
    ticks, series = shape
    values = np.array(numbers[: ticks * series]).reshape(shape)
    window = Window(tuple("abcd"[:series]), np.array(numbers[16 : 16 + ticks]), values)

    assert same(window, rows.unseal(rows.seal(window)))


@given(place=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(place: int, bit: int) -> None:
    damaged = bytearray(SEALED)
    damaged[place] ^= 1 << bit
    with pytest.raises(StoreError):
        rows.unseal(bytes(damaged))


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_a_block_that_is_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(StoreError):
        rows.unseal(SEALED[:length])


@given(block=st.binary(max_size=200))
def test_nonsense_is_no_block(block: bytes) -> None:
    with pytest.raises(StoreError):
        rows.unseal(block)


@pytest.mark.parametrize(
    "block",
    [
        forged(packed=b"no zlib"),
        forged(packed=zlib.compress(bytes(8))),
        forged(packed=zlib.compress(bytes(10 * 8))),
        forged(packed=zlib.compress(bytes(9 * 8 - 1))),
        forged(names=b"[1,2]"),
        forged(names=b"\xff"),
        forged(names=b'["a"]'),
        forged(names=b'{"a": 1}'),
        forged(ticks=2),
        forged(series=3),
        forged(ticks=2**32 - 1, series=2**32 - 1),
    ],
)
def test_a_forged_block_is_refused_though_its_checksum_fits(block: bytes) -> None:
    assert same(rows.unseal(forged()), Window(NAMES, np.zeros(3), np.zeros((3, 2))))
    with pytest.raises(StoreError):
        rows.unseal(block)


@pytest.mark.parametrize(("names", "ticks", "series"), [(b'["a","b"]', 3, 2), (b"[]", 0, 0)])
def test_a_decompression_bomb_is_not_decompressed(names: bytes, ticks: int, series: int) -> None:
    bomb = forged(names=names, ticks=ticks, series=series, packed=zlib.compress(bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(StoreError):
        rows.unseal(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 1_000_000


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
