from __future__ import annotations

import math
import random
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from outrider.errors import StoreError
from outrider.store import chunks, columns
from outrider.store.rows import MISSING

ID = b"12345678"
SPAN = 720
HARD = [
    math.nan, MISSING, math.inf, -math.inf, -0.0, 0.0, 2.0**63, -(2.0**63), 2.0**53, 5e-324,
    -2.2e-308, 1.8e308, 0.1, 1 / 3, 1e-9, 123456.789,
]  # fmt: skip
# NaN of any payload and sign: every pattern of 64 bits.
BITS = st.integers(0, 2**64 - 1).map(
    lambda bits: float(struct.unpack("<d", struct.pack("<Q", bits))[0])
)
# What series are like: constants, counters, decimals, gaps.
LIKELY = st.integers(-1000, 1000).map(lambda number: number / 100)
NUMBERS = st.one_of(st.sampled_from(HARD), st.floats(), BITS, LIKELY)


def encoded(values: Any, ticks: Any = None, *, small: bool, span: int = SPAN) -> bytes:
    table = np.asarray(values, np.float64)
    places = np.arange(len(table)) if ticks is None else np.asarray(ticks, np.int64)
    return chunks.encode(
        chunks.Rows(ID, places, table), step_s=10.0, first=0, span=span, generation=3, small=small
    )


def bits(values: Any) -> list[Any]:
    found: list[Any] = np.ascontiguousarray(values, np.float64).view(np.uint64).tolist()
    return found


def blob_of(packed: bytes, head: chunks.Header, place: int) -> bytes:
    """As ``read.lua`` does."""
    begin = chunks.HEADER.size + len(head.bitmap)
    start, end = struct.unpack_from("<II", packed, begin + 4 * (place // head.group))
    base = begin + 4 * (head.blobs() + 1)
    return packed[base + start : base + end]


@pytest.fixture(params=["pcodec", "without pcodec"])
def _codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "pcodec":
        monkeypatch.setattr(columns, "pcodec", None)


@pytest.mark.usefixtures("_codec")
@pytest.mark.parametrize("small", [True, False])
def test_rows_come_back_bit_for_bit(*, small: bool) -> None:
    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        height, width = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 20))
        table = data.draw(arrays.arrays(np.float64, (height, width), elements=NUMBERS))
        ticks = data.draw(
            st.lists(st.integers(0, SPAN - 1), min_size=height, max_size=height, unique=True)
        )
        packed = encoded(table, sorted(ticks), small=small)
        found = chunks.decode(packed)
        head = chunks.header(packed)

        assert sorted(ticks) == found.ticks.tolist() == head.ticks().tolist()
        assert bits(table) == bits(found.values)
        assert (found.schema_id, found.damaged, head.generation) == (ID, 0, 3)
        for place in range(width):
            column = chunks.column(head, place, blob_of(packed, head, place))
            assert bits(table[:, place]) == bits(column)

    check()


@pytest.mark.usefixtures("_codec")
@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 720])
def test_every_hard_number_comes_back(rows: int, *, small: bool) -> None:
    constant = np.tile(HARD, (rows, 1))
    mixed = np.array([np.roll(HARD, place) for place in range(rows)])
    gaps = np.where(np.arange(rows)[:, None] % 3 == 0, MISSING, constant)
    late = np.where(np.arange(rows)[:, None] < rows // 2, MISSING, mixed)
    table = np.hstack([constant, mixed, gaps, late])

    assert bits(table) == bits(chunks.decode(encoded(table, small=small)).values)


def test_what_one_codec_wrote_the_other_side_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.arange(3000.0).reshape(300, 10) ** 1.5
    with_pcodec = encoded(table, small=True)
    monkeypatch.setattr(columns, "pcodec", None)
    without = encoded(table, small=True)
    monkeypatch.undo()

    assert bits(table) == bits(chunks.decode(without).values)
    monkeypatch.setattr(columns, "pcodec", None)
    found = chunks.decode(with_pcodec)
    assert found.damaged == 10
    head = chunks.header(with_pcodec)
    with pytest.raises(StoreError, match="pip install pcodec"):
        chunks.column(head, 0, blob_of(with_pcodec, head, 0))


def test_a_constant_column_costs_a_few_bytes() -> None:
    table = np.tile([0.0, 1.0, 3.25e9, 0.1], (720, 1))
    sizes = [
        len(encoded(table[:, :count], small=True)) - len(encoded(table[:, :0], small=True))
        for count in range(1, 5)
    ]

    # Four bytes of the table, four of the checksum, the kind, and what is not zero of the number.
    assert sizes == [9, 9 + 11, 20 + 14, 34 + 17]


def test_a_series_that_is_away_for_a_while_stays_small() -> None:
    counter = np.arange(720.0) * 1000
    whole = len(encoded(counter[:, None], small=True))
    counter[200:300] = MISSING
    assert len(encoded(counter[:, None], small=True)) < whole + 120
    counter[:300] = MISSING
    assert len(encoded(counter[:, None], small=True)) < whole + 20


@pytest.mark.parametrize("small", [True, False])
def test_decimals_are_kept_as_whole_numbers(*, small: bool) -> None:
    rng = np.random.default_rng(5)
    cents = np.round(rng.uniform(0, 1, (720, 16)), 2)
    noise = rng.uniform(0, 1, (720, 16))

    assert len(encoded(cents, small=small)) < 1.4 * cents.size
    assert len(encoded(noise, small=small)) < 8.1 * noise.size


def test_most_digits_that_are_found() -> None:
    digits, integers = columns.decimals(
        np.array([[1.0, 0.25, 1e-9, 1e-10, -0.0, 1e300, math.nan, -1.5]])
    )

    assert digits.tolist() == [0, 2, 9, -1, -1, -1, -1, 1]
    assert integers[0, [0, 1, 2, 7]].tolist() == [1, 25, 1, -15]


TABLE = np.column_stack(
    [np.arange(90.0), np.arange(90.0) / 7, np.full(90, 2.5), [MISSING] * 50 + [1.0, 2.0] * 20]
)


def without_pcodec(values: Any, *, small: bool) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "pcodec", None)
        return encoded(values, small=small)


SEALED = {
    "pcodec": encoded(TABLE, small=True),
    "zstd": without_pcodec(TABLE, small=False),
    "bitmap": encoded(TABLE, np.arange(90) * 2, small=True),
}


@pytest.mark.parametrize("packed", SEALED.values(), ids=SEALED)
def test_a_flipped_bit_anywhere_is_noticed_and_touches_no_more_than_it_must(packed: bytes) -> None:
    head = chunks.header(packed)
    blobs_from = chunks.HEADER.size + len(head.bitmap) + 4 * (head.blobs() + 1)
    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 1 << place % 8
        if place < chunks.HEADER.size + len(head.bitmap):
            with pytest.raises(StoreError):
                chunks.decode(bytes(damaged))
            continue
        found = chunks.decode(bytes(damaged))
        good = (np.ascontiguousarray(found.values.T).view(np.uint64) ==
                np.ascontiguousarray(TABLE.T).view(np.uint64)).all(axis=1)  # fmt: skip
        if place >= blobs_from:
            assert found.damaged == 1
        else:  # an entry of the table ends one blob and begins the next; the last may be too far
            assert found.damaged <= 2
        if head.group == 1:
            assert good.sum() == TABLE.shape[1] - found.damaged
        lost = found.values[:, ~good]
        assert (np.ascontiguousarray(lost).view(np.uint64) == columns.MISSING_BITS).all()


@pytest.mark.parametrize("packed", SEALED.values(), ids=SEALED)
def test_a_piece_that_is_cut_short_is_noticed(packed: bytes) -> None:
    for length in range(len(packed)):
        try:
            assert chunks.decode(packed[:length]).damaged > 0
        except StoreError:
            continue


@given(packed=st.binary(max_size=200))
def test_nonsense_is_no_piece(packed: bytes) -> None:
    for sign in (b"", b"OC\1"):
        with pytest.raises(StoreError):
            chunks.decode(sign + packed)


def forged(packed: bytes, at: int, change: bytes) -> bytes:
    """Return a piece with other bytes in it, and all its checksums made to fit."""
    head = chunks.header(packed)
    begin = chunks.HEADER.size + len(head.bitmap)
    base = begin + 4 * (head.blobs() + 1)
    ends = struct.unpack_from(f"<{head.blobs() + 1}I", packed, begin)
    fresh = bytearray(packed)
    fresh[at : at + len(change)] = change
    fresh[52:56] = bytes(4)
    check = zlib.crc32(fresh[56:begin], zlib.crc32(fresh[:56]))
    fresh[52:56] = struct.pack("<I", check)
    for place in range(head.blobs()):
        start, end = base + ends[place], base + ends[place + 1]
        own = zlib.crc32(fresh[start + 4 : end], zlib.crc32(struct.pack("<I", place), check))
        fresh[start : start + 4] = struct.pack("<I", own)
    return bytes(fresh)


@pytest.mark.parametrize("packed", SEALED.values(), ids=SEALED)
def test_bytes_whose_checksums_fit_are_decoded_or_refused_never_a_crash(packed: bytes) -> None:
    """The checksums tell damage from chance; whoever forges them gets no further either."""
    assert packed == forged(packed, 60, b"")
    rng = random.Random(11)
    for _ in range(3000):
        at, size = rng.randrange(8, len(packed)), rng.choice((1, 1, 2, 4))
        change = bytes(rng.choice((0, 255, rng.randrange(256))) for _ in range(size))
        try:
            found = chunks.decode(forged(packed, at, change[: len(packed) - at]))
            assert found.values.shape[0] == len(found.ticks)
        except StoreError:
            continue


@pytest.mark.parametrize(
    "fields",
    [
        {10: 2**32 - 1}, {11: 2**32 - 1}, {12: 2**32 - 1}, {9: 2**32 - 1, 11: 2**31}, {4: 0},
        {3: 2}, {2: 9}, {3: 1}, {5: 1},
    ],
)  # fmt: skip
def test_a_header_that_asks_for_too_much_is_refused(fields: dict[int, int]) -> None:
    head = list(chunks.HEADER.unpack_from(SEALED["pcodec"]))
    for place, value in fields.items():
        head[place] = value
    packed = chunks.HEADER.pack(*head) + SEALED["pcodec"][56:]
    with pytest.raises(StoreError):
        chunks.decode(forged_header(packed))


def forged_header(packed: bytes) -> bytes:
    fresh = bytearray(packed)
    fresh[52:56] = bytes(4)
    fresh[52:56] = struct.pack("<I", zlib.crc32(fresh[:56]))
    return bytes(fresh)


def test_a_decompression_bomb_is_not_decompressed() -> None:
    bomb = b"\0" + zstandard.compress(bytes(200_000_000))
    tracemalloc.start()
    for rows, width in ((90, 4), (1, 1)):
        with pytest.raises(StoreError):
            columns.unpack_block(bomb, rows, width)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 1_000_000


def test_a_newer_format_is_refused_by_name() -> None:
    newer = bytearray(SEALED["pcodec"])
    newer[2] = 2
    with pytest.raises(StoreError, match="unknown here"):
        chunks.decode(bytes(newer))
