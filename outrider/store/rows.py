"""A row as bytes, and an hour of rows as one compressed block.

A row is its schema's id (8 bytes, from the names) and one little-endian float64 a series, so that
appending costs a hash field and names are stored once an hour. A sealed hour is a header, the
names, and the values transposed: neighbours in time lie side by side, which compresses well.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from outrider.errors import StoreError
from outrider.samples import Values, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

ID_BYTES = 8
# A NaN whose payload says "no such series at this tick", apart from a NaN that was measured.
_MISSING_BITS = 0x7FF8_0000_0000_4F52
MISSING = struct.unpack("<d", struct.pack("<Q", _MISSING_BITS))[0]
_MAGIC = b"OR1\0"
_HEADER = struct.Struct("<4sI")  # magic, crc32 of the rest
_COUNTS = struct.Struct("<III")  # names' bytes, ticks, series
# Larger than any real hour (3600 ticks of 20,000 series); bounds what a forged block can ask for.
_MOST_VALUES = 100_000_000


def schema_of(values: Values) -> tuple[bytes, bytes]:
    """Return ``(id, names)`` of a row: equal for rows with the same series in the same order."""
    names = msgspec.json.encode(list(values))
    return hashlib.blake2b(names, digest_size=ID_BYTES).digest(), names


def pack(schema_id: bytes, values: Values) -> bytes:
    """Return a row as bytes."""
    return schema_id + np.fromiter(values.values(), "<f8", len(values)).tobytes()


def unpack(packed: bytes, schemas: Mapping[bytes, tuple[str, ...]]) -> dict[str, float]:
    """Return the values of one row.

    Raises:
        StoreError: its schema is unknown, or its length does not fit.
    """
    names, numbers = _split(packed, schemas)
    return dict(zip(names, numbers.tolist(), strict=True))


def to_window(
    packed: Iterable[tuple[float, bytes]], schemas: Mapping[bytes, tuple[str, ...]]
) -> Window:
    """Return rows side by side. A damaged row is left out."""
    decoded: list[tuple[float, tuple[str, ...], NDArray[np.float64]]] = []
    for at_s, row in sorted(packed):
        try:
            decoded.append((at_s, *_split(row, schemas)))
        except StoreError:
            continue
    names = tuple(dict.fromkeys(name for _, known, _ in decoded for name in known))
    place = {name: column for column, name in enumerate(names)}
    columns = {id(known): [place[name] for name in known] for _, known, _ in decoded}
    table = np.full((len(decoded), len(names)), MISSING)
    for line, (_, known, numbers) in enumerate(decoded):
        table[line, columns[id(known)]] = numbers
    return Window(names, np.array([at_s for at_s, _, _ in decoded]), table)


def seal(window: Window) -> bytes:
    """Return a window as one compressed block."""
    names = msgspec.json.encode(window.names)
    numbers = window.times_s.astype("<f8").tobytes() + window.values.T.astype("<f8").tobytes()
    counts = _COUNTS.pack(len(names), *window.values.shape)
    body = counts + names + zlib.compress(numbers, 6)
    return _HEADER.pack(_MAGIC, zlib.crc32(body)) + body


def unseal(block: bytes) -> Window:
    """Return the window that :func:`seal` was given.

    Raises:
        StoreError: the block is damaged, or not ours.
    """
    try:
        return _opened(block)
    except (struct.error, zlib.error, ValueError):
        raise StoreError("a sealed hour is damaged; it is skipped.") from None


def _opened(block: bytes) -> Window:
    magic, checksum = _HEADER.unpack_from(block)
    body = block[_HEADER.size :]
    if magic != _MAGIC or zlib.crc32(body) != checksum:
        raise ValueError
    name_bytes, ticks, series = _COUNTS.unpack_from(body)
    size = ticks * (series + 1)
    names = tuple(
        msgspec.json.decode(body[_COUNTS.size : _COUNTS.size + name_bytes], type=list[str])
    )
    if size > _MOST_VALUES or len(names) != series:
        raise ValueError
    # A byte more than it may hold: were there one, the count would not fit.
    packed = zlib.decompressobj().decompress(body[_COUNTS.size + name_bytes :], size * 8 + 1)
    numbers = np.frombuffer(packed, "<f8")
    columns = numbers[ticks:].reshape(series, ticks)
    return Window(names, numbers[:ticks].copy(), columns.T.copy())


def join(windows: list[Window]) -> Window:
    """Return windows one below the other, in the order given."""
    if len(windows) == 1:
        return windows[0]
    names = tuple(dict.fromkeys(name for window in windows for name in window.names))
    place = {name: column for column, name in enumerate(names)}
    table = np.full((sum(len(window.times_s) for window in windows), len(names)), MISSING)
    line = 0
    for window in windows:
        until = line + len(window.times_s)
        table[line:until, [place[name] for name in window.names]] = window.values
        line = until
    times = np.concatenate([window.times_s for window in windows]) if windows else np.empty(0)
    return Window(names, times, table)


def between(window: Window, start_s: float, end_s: float) -> Window:
    """Return the part of a window that lies in ``[start_s, end_s)``."""
    return where(window, (window.times_s >= start_s) & (window.times_s < end_s))


def where(window: Window, ticks: NDArray[Any]) -> Window:
    """Return the chosen ticks of a window, by mask or by place."""
    return Window(window.names, window.times_s[ticks], window.values[ticks])


def last_of(window: Window) -> dict[str, float]:
    """Return the newest row of a window, without the series that it does not have."""
    numbers = np.ascontiguousarray(window.values[-1])
    there = numbers.view(np.uint64) != _MISSING_BITS
    return {
        name: value
        for name, value, has in zip(window.names, numbers.tolist(), there, strict=True)
        if has
    }


def series_of(window: Window, series: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(times_s, values)`` of one series, without the ticks that did not have it."""
    if series not in window.names:
        return np.empty(0), np.empty(0)
    column = np.ascontiguousarray(window.column(series))
    there = column.view(np.uint64) != _MISSING_BITS
    return window.times_s[there], column[there]


def _split(
    packed: bytes, schemas: Mapping[bytes, tuple[str, ...]]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    names = schemas.get(packed[:ID_BYTES])
    if names is None or len(packed) != ID_BYTES + 8 * len(names):
        raise StoreError("a row is damaged or its schema is gone; it is skipped.")
    return names, np.frombuffer(packed, "<f8", offset=ID_BYTES)
