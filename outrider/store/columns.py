"""Series as bytes, without the loss of a bit: numbers to integers, integers to what they need.

Most series are decimals (a count, milliseconds, hundredths): as whole numbers of their last digit
they compress far better than as floats. A column is kept so where the way back gives the very same
bits, which leaves out NaN, infinities and -0.0 by itself; the others are compressed as floats.

Two codecs. :func:`pack_column` writes one column with pcodec (Apache-2.0; binned, delta coded
integers), the smallest found and the quickest to read. Where pcodec is missing, :func:`pack_blocks`
writes several columns at once: differences, bytes of equal weight side by side, one zstd frame.
"""

from __future__ import annotations

import functools
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from outrider.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

try:
    import pcodec as _imported
except ImportError:  # a platform without a wheel: the other codec is used
    pcodec: Any = None
else:
    pcodec = _imported

MISSING_BITS = 0x7FF8_0000_0000_4F52
_DIGITS = 9  # decimals looked for: nanoseconds
_EXACT = 2.0**53
_PROBE = 24  # rows that tell most columns that are no decimals
_PCODEC_QUICK = 4  # for what is packed again soon
_PCODEC_LEVEL = 8  # 12 is three times slower and 0.2 % smaller
_ZSTD_LEVEL = 3

# The first byte of a column: how its numbers are kept, and which rows have one.
_CONSTANT, _INTEGERS, _FLOATS, _RAW = range(4)
_KIND, _RUN, _BITMAP = 0x0F, 0x10, 0x20
_NUMBER = struct.Struct("<d")
_RUN_AT = struct.Struct("<II")
_MASKED = 1
_NO_SIGN = np.int64(2**63 - 1)
_local = threading.local()


def decimals(table: Floats) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return ``(digits, integers)`` of columns, shapes ``[columns]`` and ``[rows, columns]``.

    ``integers / 10**digits`` has the bits of ``table``. Where no number of digits does that,
    ``digits`` is -1 and the integers are the bits themselves.
    """
    digits = np.full(table.shape[1], -1, np.int8)
    integers = table.view(np.int64).copy()
    # -0.0 is a float's own: an integer has no sign to give back.
    left = np.flatnonzero(~(integers == np.iinfo(np.int64).min).any(axis=0))
    for count in range(_DIGITS + 1):
        likely = left[_scaled(table[:_PROBE, left], count)[1]]
        numbers, exact = _scaled(table[:, likely], count)
        found = likely[exact]
        digits[found] = count
        integers[:, found] = numbers[:, exact].astype(np.int64)
        left = np.setdiff1d(left, found, assume_unique=True)
        if not len(left):
            break
    return digits, integers


def _scaled(table: Floats, digits: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the numbers times ``10**digits``, and which columns come back from that exactly."""
    scale = 10.0**digits
    with np.errstate(all="ignore"):
        numbers = np.rint(table * scale)
        same = (numbers / scale).view(np.int64) == table.view(np.int64)
        return numbers, (same & (np.abs(numbers) < _EXACT)).all(axis=0)


def pack_column(
    column: Floats, digits: int, integers: NDArray[np.int64], *, small: bool = True
) -> bytes:
    """Return a column as bytes; a row whose number is ``MISSING`` costs next to nothing.

    ``digits`` and ``integers`` are what :func:`decimals` says of the column. ``small`` takes three
    times as long for a tenth less.
    """
    bits = column.view(np.int64)
    there = bits != MISSING_BITS
    count = int(np.count_nonzero(there))
    presence, shape = b"", 0
    if 0 < count < len(column):
        places = np.flatnonzero(there)
        first, last = int(places[0]), int(places[-1])
        run = last - first + 1 == count
        shape = _RUN if run else _BITMAP
        presence = _RUN_AT.pack(first, count) if run else np.packbits(there).tobytes()
        column, bits, integers = column[places], bits[places], integers[places]
        if digits < 0:
            found, table = decimals(np.ascontiguousarray(column)[:, None])
            digits, integers = int(found[0]), table[:, 0]
    if (bits == bits[0]).all():
        return bytes((_CONSTANT | shape,)) + presence + bits[:1].tobytes().lstrip(b"\0")
    if digits >= 0:
        packed, kind = (
            bytes((digits,)) + _pcodec(np.ascontiguousarray(integers), small=small),
            _INTEGERS,
        )
    else:
        packed, kind = _pcodec(np.ascontiguousarray(column), small=small), _FLOATS
    if len(packed) >= column.nbytes:
        packed, kind = column.tobytes(), _RAW
    return bytes((kind | shape,)) + presence + packed


def unpack_column(packed: bytes, rows: int) -> Floats:
    """Return the column that :func:`pack_column` was given, shape ``[rows]``.

    Raises:
        StoreError: the bytes do not hold so many rows, or pcodec is needed and missing.
    """
    head, rest = packed[0] if packed else -1, packed[1:]
    if head < 0 or head & ~(_KIND | _RUN | _BITMAP):
        raise StoreError("a column is damaged.")
    if not head & (_RUN | _BITMAP):
        return _numbers(head & _KIND, rest, rows)
    if head & _RUN:
        if len(rest) < _RUN_AT.size:
            raise StoreError("a column is cut short.")
        first, count = _RUN_AT.unpack_from(rest)
        if first + count > rows:
            raise StoreError("a column has more rows than its chunk.")
        size, places = _RUN_AT.size, np.arange(first, first + count)
    else:
        size = (rows + 7) // 8
        if len(rest) < size:
            raise StoreError("a column is cut short.")
        places = np.flatnonzero(np.unpackbits(np.frombuffer(rest, np.uint8, size), count=rows))
        count = len(places)
    column = np.full(rows, MISSING_BITS, np.int64).view(np.float64)
    column[places] = _numbers(head & _KIND, rest[size:], count)
    return column


def _numbers(kind: int, packed: bytes, count: int) -> Floats:
    if kind == _CONSTANT:
        if len(packed) > 8:  # noqa: PLR2004 - bytes of a float64
            raise StoreError("a column is too long.")
        column = np.empty(count)  # np.full takes twice as long
        column.fill(_NUMBER.unpack(packed.rjust(8, b"\0"))[0])
        return column
    if kind == _RAW:
        if len(packed) != 8 * count:
            raise StoreError("a column has another length than its chunk.")
        return np.frombuffer(packed, "<f8")
    if kind == _INTEGERS and packed and packed[0] <= _DIGITS:
        integers = _unpcodec(packed[1:], np.empty(count, np.int64), "i64")
        return integers / 10.0 ** packed[0] if packed[0] else integers.astype(np.float64)
    if kind == _FLOATS:
        return _unpcodec(packed, np.empty(count, np.float64), "f64")
    raise StoreError("a column is damaged.")


def _pcodec(numbers: NDArray[Any], *, small: bool) -> bytes:
    """Return numbers in pcodec's wrapped format, which has 12 bytes less about it."""
    config = (
        pcodec.ChunkConfig(compression_level=_PCODEC_LEVEL)
        if small
        else pcodec.ChunkConfig(
            compression_level=_PCODEC_QUICK, delta_spec=pcodec.DeltaSpec.try_consecutive(1)
        )
    )
    compressor = pcodec.wrapped.FileCompressor()
    chunk = compressor.chunk_compressor(numbers, config)
    return bytes(compressor.write_header() + chunk.write_meta() + chunk.write_page(0))


def _unpcodec(packed: bytes, into: NDArray[Any], dtype: str) -> NDArray[Any]:
    if pcodec is None:
        raise StoreError(
            "a chunk was written with pcodec, which can't be imported here; `pip install pcodec`."
        )
    try:
        head = _pcodec_header(packed[:2])
        chunk, size = head.chunk_decompressor(packed[2:], dtype)
        progress, _ = chunk.read_page_into(packed[2 + size :], len(into), into)
    except (RuntimeError, TypeError, ValueError) as error:
        raise StoreError(f"a column is damaged: {error}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which is no Exception
            raise
        raise StoreError("a column is damaged.") from None
    if progress.n_processed != len(into):
        raise StoreError("a column has fewer rows than its chunk.")
    return into


@functools.lru_cache(maxsize=8)
def _pcodec_header(header: bytes) -> Any:
    return pcodec.wrapped.FileDecompressor.new(header)[0]


def pack_blocks(table: Floats, group: int) -> list[bytes]:
    """Return columns as bytes, ``group`` of them in a zstd frame; a table ``[rows, columns]``."""
    rows, width = table.shape
    missing = table.view(np.int64) == MISSING_BITS
    gaps = missing.any(axis=0)
    if gaps.any():
        table = _filled(table, missing)
    digits, integers = decimals(table)
    by_column = np.ascontiguousarray(integers.T)
    steps = np.diff(by_column, axis=1)
    folded = (steps << 1) ^ (steps >> 63)  # small differences of either sign: small numbers
    planes = folded.view(np.uint8).reshape(width, max(0, rows - 1), 8).transpose(2, 0, 1)
    found = []
    for place in range(0, width, group):
        chosen = slice(place, place + group)
        masked = bool(gaps[chosen].any())
        parts: list[NDArray[Any]] = [digits[chosen], by_column[chosen, :1], planes[:, chosen]]
        if masked:
            parts.append(np.packbits(missing[:, chosen].T))
        plain = b"".join([part.tobytes() for part in parts])
        found.append(bytes((_MASKED * masked,)) + bytes(_zstd()[0].compress(plain)))
    return found


def _filled(table: Floats, missing: NDArray[np.bool_]) -> Floats:
    """Return a table whose gaps repeat the number before them, or the first one of the column."""
    places = np.where(missing, 0, np.arange(len(table))[:, None])
    np.maximum.accumulate(places, axis=0, out=places)
    first = np.argmin(missing, axis=0)  # the first row that has a number
    places = np.maximum(places, first)
    return np.ascontiguousarray(np.take_along_axis(table, places, axis=0))


def unpack_block(packed: bytes, rows: int, columns: int, only: int | None = None) -> Floats:
    """Return a block of :func:`pack_blocks`, ``[rows, columns]``; or one column, ``[rows]``.

    Raises:
        StoreError: the bytes do not hold so many rows and columns.
    """
    if not packed or packed[0] & ~_MASKED:
        raise StoreError("a block is damaged.")
    if not rows:
        return np.empty(0 if only is not None else (0, columns))
    steps, firsts = (rows - 1) * columns, columns * 8
    mask = (rows * columns + 7) // 8 if packed[0] & _MASKED else 0
    size = columns + firsts + 8 * steps + mask
    plain = decompressed(packed[1:], size, size)
    chosen = slice(None) if only is None else slice(only, only + 1)
    digits = plain[:columns][chosen]
    planes = np.frombuffer(plain, np.uint8, 8 * steps, columns + firsts)
    planes = planes.reshape(8, columns, rows - 1)[:, chosen]
    folded = np.ascontiguousarray(planes.transpose(1, 2, 0)).view(np.int64)[..., 0]
    integers = np.empty((len(digits), rows), np.int64)
    integers[:, 0] = np.frombuffer(plain, "<i8", columns, columns)[chosen]
    integers[:, 1:] = ((folded >> 1) & _NO_SIGN) ^ -(folded & 1)
    np.cumsum(integers, axis=1, out=integers)
    numbers = integers.view(np.float64)
    for place, count in enumerate(digits):
        if count <= _DIGITS:  # otherwise the integers are a float's bits
            numbers[place] = integers[place] / 10.0**count
    if mask:
        bits = np.frombuffer(plain, np.uint8, mask, size - mask)
        gaps = np.unpackbits(bits, count=rows * columns).reshape(columns, rows)[chosen]
        numbers.view(np.int64)[gaps == 1] = MISSING_BITS
    return numbers[0] if only is not None else numbers.T


def decompressed(packed: bytes, least: int, most: int) -> bytes:
    """Return the bytes of a zstd frame; one that says it holds too many is not even begun.

    Raises:
        StoreError: it is damaged, or holds fewer than ``least`` or more than ``most`` bytes.
    """
    try:
        if not least <= zstandard.frame_content_size(packed) <= most:
            raise StoreError("a block has another size than its chunk.")
        return bytes(_zstd()[1].decompress(packed, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise StoreError(f"a block is damaged: {error}") from None


def compressed(plain: bytes) -> bytes:
    """Return bytes as a zstd frame."""
    return bytes(_zstd()[0].compress(plain))


def _zstd() -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
    """Return this thread's own: one can't be used by two threads at once."""
    if not hasattr(_local, "zstd"):
        _local.zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL), zstandard.ZstdDecompressor()
    found: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] = _local.zstd
    return found
