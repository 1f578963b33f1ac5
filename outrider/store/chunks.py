"""A sealed piece as bytes: rows by column, so that one series is read without the others.

::

    header    56 bytes, little-endian: magic, version, codec, presence, columns a blob, schema id,
              interval, first tick, ticks spanned, offset of the first row, rows, columns,
              generation, checksum of header and bitmap
    bitmap    only when rows are missing: a bit a tick spanned
    table     where each blob begins, one u32 more than there are blobs
    blobs     checksum, then the columns: one a blob with pcodec, up to eight without

The checksum of a blob begins with that of the header and with the blob's number, so that one that
is read by itself, by offsets out of the table, is known to be the one that was meant. What is
damaged is told apart: a blob (its series are missing from the piece), or the header (the piece is).

``append.lua`` and ``read.lua`` read header, bitmap and table on the server: they change together.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outrider.errors import StoreError
from outrider.store import columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC, VERSION = b"OC", 1
PCODEC, ZSTD = 1, 2
HEADER = struct.Struct("<2sBBBBH8sdqIIIIII")
_CONTIGUOUS, _BITMAP = 0, 1
_CHECK = struct.Struct("<I")
_GROUP = 8  # columns a blob of the cheap codec
# Larger than any real piece (3,000 ticks of 30,000 series); bounds what forged bytes can ask for.
_MOST_VALUES = 100_000_000


@dataclass(frozen=True, slots=True)
class Header:
    """What a piece says of itself. ``check`` is its checksum, with which those of blobs begin."""

    codec: int
    group: int
    schema_id: bytes
    step_s: float
    first: int
    span: int
    rows: int
    columns: int
    generation: int
    check: int
    offset: int
    bitmap: bytes

    def ticks(self) -> NDArray[np.int64]:
        """Return the numbers of the ticks that have a row, shape ``[rows]``."""
        if self.bitmap:
            bits = np.unpackbits(np.frombuffer(self.bitmap, np.uint8), bitorder="little")
            return self.first + np.flatnonzero(bits)
        return np.arange(self.first + self.offset, self.first + self.offset + self.rows)

    @property
    def begin(self) -> int | None:
        """Return the first row's tick when no tick is missing between rows, otherwise None."""
        return None if self.bitmap else self.first + self.offset

    def blobs(self) -> int:
        """Return how many blobs hold the columns."""
        return -(-self.columns // self.group)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one schema; ``values`` has shape ``[ticks, columns]``. ``damaged`` counts blobs."""

    schema_id: bytes
    ticks: NDArray[np.int64]
    values: NDArray[np.float64]
    damaged: int = 0


def encode(
    rows: Rows, *, step_s: float, first: int, span: int, generation: int, small: bool
) -> bytes:
    """Return rows as a piece. ``small`` takes more time and gives fewer bytes.

    ``rows.ticks`` ascend within ``[first, first + span)``.
    """
    ticks, values = rows.ticks - first, np.ascontiguousarray(rows.values, "<f8")
    count, width = values.shape
    dense = bool(count) and int(ticks[-1] - ticks[0]) + 1 == count
    kind, offset, bitmap = _CONTIGUOUS, int(ticks[0]) if dense else 0, b""
    if count and not dense:
        bits = np.zeros(-(-span // 8) * 8, np.uint8)
        bits[ticks] = 1
        kind, bitmap = _BITMAP, np.packbits(bits, bitorder="little").tobytes()
    codec = ZSTD if columns.pcodec is None else PCODEC
    group = 1 if small or codec == PCODEC else _GROUP
    fields = (
        MAGIC, VERSION, codec, kind, group, 0, rows.schema_id, step_s, first, span, offset,
        count, width, generation,
    )  # fmt: skip
    check = zlib.crc32(bitmap, zlib.crc32(HEADER.pack(*fields, 0)))
    blobs = []
    for place, packed in enumerate(_packed(values, codec, group, small=small)):
        blobs.append(_CHECK.pack(_check(check, place, packed)) + packed)
    table = np.zeros(len(blobs) + 1, "<u4")
    np.cumsum([len(blob) for blob in blobs], out=table[1:])
    return b"".join((HEADER.pack(*fields, check), bitmap, table.tobytes(), *blobs))


def _packed(values: NDArray[np.float64], codec: int, group: int, *, small: bool) -> list[bytes]:
    width = values.shape[1]
    if not len(values):
        return [b""] * -(-width // group)
    if codec == ZSTD:
        return columns.pack_blocks(values, group)
    found = []
    for place in range(0, width, 256):  # bounds the memory that a wide host takes
        table = np.ascontiguousarray(values[:, place : place + 256])
        digits, integers = columns.decimals(table)
        by_column, whole = np.ascontiguousarray(table.T), np.ascontiguousarray(integers.T)
        found += [
            columns.pack_column(by_column[at], int(digits[at]), whole[at], small=small)
            for at in range(len(by_column))
        ]
    return found


def header(packed: bytes) -> Header:
    """Return what a piece says of itself; ``packed`` holds header and bitmap at least.

    Raises:
        StoreError: it is damaged, or of a format that this version does not read.
    """
    if len(packed) < HEADER.size:
        raise StoreError("a piece is cut short.")
    (
        magic, version, codec, kind, group, zero, schema_id, step_s, first, span, offset, rows,
        width, generation, check,
    ) = HEADER.unpack_from(packed)  # fmt: skip
    if magic != MAGIC or version != VERSION:
        raise StoreError(f"a piece is of a format that is unknown here: {packed[:3]!r}.")
    bitmap = packed[HEADER.size : HEADER.size + (-(-span // 8) if kind == _BITMAP else 0)]
    if check != zlib.crc32(bitmap, zlib.crc32(packed[: HEADER.size - 4] + bytes(4))):
        raise StoreError("a piece's checksum does not fit: it is damaged.")
    found = Header(
        codec, group, schema_id, step_s, first, span, rows, width, generation, check, offset,
        bitmap,
    )  # fmt: skip
    fits = zero == 0 and group > 0 and kind in (_CONTIGUOUS, _BITMAP) and rows <= span
    if not fits or rows * max(1, width) > _MOST_VALUES or offset + rows > span:
        raise StoreError("a piece's header makes no sense.")
    if kind == _BITMAP and len(found.ticks()) != rows:
        raise StoreError("a piece's bitmap has another number of rows.")
    if codec not in (PCODEC, ZSTD):
        raise StoreError(f"a piece was written with codec {codec}, unknown here; upgrade.")
    return found


def column(head: Header, place: int, blob: bytes) -> NDArray[np.float64]:
    """Return one column, shape ``[rows]``, of its blob.

    Raises:
        StoreError: the blob is damaged, or not that of the column.
    """
    at = place // head.group
    packed = _checked(head, at, blob)
    if not head.rows:
        return np.empty(0)
    if head.codec == PCODEC:
        return columns.unpack_column(packed, head.rows)
    width = min(head.group, head.columns - at * head.group)
    return columns.unpack_block(packed, head.rows, width, place % head.group)


def decode(packed: bytes) -> Rows:
    """Return the rows of a whole piece. A damaged blob's columns are missing, and counted.

    Raises:
        StoreError: the header is damaged, or the table is cut short.
    """
    head = header(packed)
    begin = HEADER.size + len(head.bitmap)
    blobs = head.blobs()
    base = begin + 4 * (blobs + 1)
    if len(packed) < base:
        raise StoreError("a piece is cut short.")
    values = np.full((head.columns, head.rows), columns.MISSING_BITS, np.int64).view(np.float64)
    damaged = 0
    ends = np.frombuffer(packed, "<u4", blobs + 1, begin).tolist()
    for at in range(blobs):
        place = at * head.group
        until = min(head.columns, place + head.group)
        try:
            blob = _checked(head, at, packed[base + ends[at] : base + ends[at + 1]])
            if not head.rows:
                continue
            if head.codec == PCODEC:
                values[place] = columns.unpack_column(blob, head.rows)
            else:
                values[place:until] = columns.unpack_block(blob, head.rows, until - place).T
        except StoreError:
            damaged += 1
    return Rows(head.schema_id, head.ticks(), values.T, damaged)


def _check(header_check: int, place: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(_CHECK.pack(place), header_check))


def _checked(head: Header, place: int, blob: bytes) -> bytes:
    packed = blob[_CHECK.size :]
    if len(blob) < _CHECK.size or _CHECK.unpack_from(blob)[0] != _check(head.check, place, packed):
        raise StoreError("a column's checksum does not fit: it is damaged.")
    return packed
