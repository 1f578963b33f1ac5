"""Rows as bytes, and rows side by side.

A row is its schema's id (8 bytes, from the names) and one little-endian float64 a series. The names
of a schema are kept once a host, compressed. A series that a tick did not have is told apart from a
NaN that was measured by the payload of the NaN that stands in its place.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from outrider.errors import BadArgument, StoreError
from outrider.samples import Values, Window
from outrider.store import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

ID_BYTES = 8
# A NaN whose payload says "no such series at this tick", apart from a NaN that was measured.
MISSING = struct.unpack("<d", struct.pack("<Q", columns.MISSING_BITS))[0]
_MOST_NAMES_BYTES = 64 * 2**20


def schema_of(values: Iterable[str]) -> tuple[bytes, bytes]:
    """Return ``(id, names)`` of a row: equal for rows with the same series in the same order."""
    names = msgspec.json.encode(list(values))
    return hashlib.blake2b(names, digest_size=ID_BYTES).digest(), names


def shrunk(names: bytes) -> bytes:
    """Return the names of a schema as they are kept."""
    return columns.compressed(names)


def names_of(kept: bytes) -> tuple[str, ...]:
    """Return the names of a schema that :func:`shrunk` made small.

    Raises:
        StoreError: they are damaged.
    """
    try:
        return tuple(
            msgspec.json.decode(columns.decompressed(kept, 2, _MOST_NAMES_BYTES), type=list[str])
        )
    except msgspec.DecodeError:
        raise StoreError("the names of a schema are damaged.") from None


def pack(schema_id: bytes, values: Values) -> bytes:
    """Return a row as bytes.

    Raises:
        BadArgument: a value is no number.
    """
    try:
        return schema_id + struct.pack(f"<{len(values)}d", *values.values())
    except (struct.error, TypeError, OverflowError):
        name, value = next(item for item in values.items() if not _is_number(item[1]))
        raise BadArgument(
            f"{name} = {value!r} is no number; a row holds floats, such as {{{name!r}: 1.0}}."
        ) from None


def _is_number(value: object) -> bool:
    try:
        struct.pack("<d", value)
    except (struct.error, TypeError, OverflowError):
        return False
    return True


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
    names = tuple(dict.fromkeys(name for known in _kinds(decoded) for name in known))
    place = {name: column for column, name in enumerate(names)}
    at = {id(known): [place[name] for name in known] for known in _kinds(decoded)}
    table = np.full((len(decoded), len(names)), MISSING)
    for line, (_, known, numbers) in enumerate(decoded):
        table[line, at[id(known)]] = numbers
    return Window(names, np.array([at_s for at_s, _, _ in decoded]), table)


def _kinds(decoded: Iterable[tuple[float, tuple[str, ...], Any]]) -> Iterable[tuple[str, ...]]:
    """Return the schemas of rows, each once."""
    return {id(known): known for _, known, _ in decoded}.values()


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
        if window.names == names:
            table[line:until] = window.values
        else:
            table[line:until, [place[name] for name in window.names]] = window.values
        line = until
    times = np.concatenate([window.times_s for window in windows]) if windows else np.empty(0)
    return Window(names, times, table)


def merged(windows: list[Window]) -> Window:
    """Return windows as one in time order; of rows of the same time, the last window's counts."""
    return at_places(both := join(windows), newest(both.times_s))


def newest(times_s: NDArray[np.float64]) -> NDArray[np.int64] | slice:
    """Return the places of times in their order; of equal ones the place of the last."""
    if len(times_s) < 2 or (times_s[1:] > times_s[:-1]).all():  # noqa: PLR2004 - none to compare
        return slice(None)
    order: NDArray[np.int64] = np.argsort(times_s, kind="stable")
    ordered = times_s[order]
    last: NDArray[np.bool_] = np.append(ordered[1:] != ordered[:-1], True)
    chosen: NDArray[np.int64] = order[last]
    return chosen


def between(window: Window, start_s: float, end_s: float) -> Window:
    """Return the part of a window that lies in ``[start_s, end_s)``."""
    return where(window, (window.times_s >= start_s) & (window.times_s < end_s))


def where(window: Window, ticks: NDArray[Any]) -> Window:
    """Return the chosen ticks of a window, by mask or by place."""
    return Window(window.names, window.times_s[ticks], window.values[ticks])


def at_places(window: Window, places: NDArray[np.int64] | slice) -> Window:
    """Return the rows of a window at places, which may be all of them: then nothing is copied."""
    return window if isinstance(places, slice) else where(window, places)


def last_of(window: Window) -> dict[str, float]:
    """Return the newest row of a window, without the series that it does not have."""
    numbers = np.ascontiguousarray(window.values[-1])
    there = numbers.view(np.int64) != columns.MISSING_BITS
    return {
        name: value
        for name, value, has in zip(window.names, numbers.tolist(), there, strict=True)
        if has
    }


def side_by_side(series: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Window:
    """Return series, each ``(times_s, values)``, as one window; those without values are not in."""
    there = {name: known for name, known in series.items() if len(known[0])}
    if not there:
        return Window((), np.empty(0), np.empty((0, 0)))
    times_s = np.unique(np.concatenate([at for at, _ in there.values()]))
    values = np.full((len(times_s), len(there)), np.nan)
    for column, (at, known) in enumerate(there.values()):
        values[np.searchsorted(times_s, at), column] = known
    return Window(tuple(there), times_s, values)


def series_of(window: Window, series: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(times_s, values)`` of one series, without the ticks that did not have it."""
    if series not in window.names:
        return np.empty(0), np.empty(0)
    return present(window.times_s, np.ascontiguousarray(window.column(series)))


def present(
    times_s: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and values without those that are missing."""
    there = values.view(np.int64) != columns.MISSING_BITS
    return (times_s, values) if there.all() else (times_s[there], values[there])


def _split(
    packed: bytes, schemas: Mapping[bytes, tuple[str, ...]]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    names = schemas.get(packed[:ID_BYTES])
    if names is None or len(packed) != ID_BYTES + 8 * len(names):
        raise StoreError("a row is damaged or its schema is gone; it is skipped.")
    return names, np.frombuffer(packed, "<f8", offset=ID_BYTES)
