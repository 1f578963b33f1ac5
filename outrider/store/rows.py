"""A row as bytes, and an hour of rows as one compressed block.

A row is its schema's id (8 bytes, from the names) and one little-endian float64 a series, so that
appending costs a hash field and names are stored once an hour. A sealed hour is a header, the
names, and the values transposed: neighbours in time lie side by side, which compresses well.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING

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
_HEADER = struct.Struct("<4sIIII")  # magic, crc32 of the rest, names' bytes, ticks, series
# Larger than any real hour (3600 ticks of 20,000 series); bounds what a damaged header can ask for.
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
    body = names + zlib.compress(
        window.times_s.astype("<f8").tobytes() + window.values.T.astype("<f8").tobytes(), 6
    )
    ticks, series = window.values.shape
    return _HEADER.pack(_MAGIC, zlib.crc32(body), len(names), ticks, series) + body


def unseal(block: bytes) -> Window:
    """Return the window that :func:`seal` was given.

    Raises:
        StoreError: the block is damaged, or not ours.
    """
    try:
        magic, checksum, name_bytes, ticks, series = _HEADER.unpack_from(block)
    except struct.error:
        raise StoreError("a sealed hour is cut short; it is skipped.") from None
    body = block[_HEADER.size :]
    size = ticks * (series + 1)
    if magic != _MAGIC or zlib.crc32(body) != checksum or size > _MOST_VALUES:
        raise StoreError("a sealed hour is damaged; it is skipped.")
    numbers = np.frombuffer(
        zlib.decompressobj().decompress(body[name_bytes:], size * 8), "<f8", size
    )
    names = tuple(msgspec.json.decode(body[:name_bytes], type=list[str]))
    return Window(names, numbers[:ticks].copy(), numbers[ticks:].reshape(series, ticks).T.copy())


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
    keep = (window.times_s >= start_s) & (window.times_s < end_s)
    return Window(window.names, window.times_s[keep], window.values[keep])


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
