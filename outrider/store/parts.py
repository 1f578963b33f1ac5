"""One series out of many pieces: what ``read.lua`` sent of each, put together in time order.

A day is some twenty pieces, and their rows follow each other as a rule; then their times are
counted up instead of joined and sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from outrider.errors import StoreError
from outrider.store import chunks, rows, spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.store.tables import Table

    Series = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(slots=True)  # frozen would take three times as long, twenty times a read
class Part:
    """One piece's values of a series. ``ticks`` is None when they are counted up from ``begin``."""

    rank: int
    step_s: float
    begin: int
    ticks: NDArray[np.int64] | None
    values: NDArray[np.float64]

    def times_s(self) -> NDArray[np.float64]:
        """Return when the values were measured, shape ``[rows]``."""
        if self.ticks is not None:
            return _times_s(self.ticks, self.step_s)
        return _counted_s(self.begin, len(self.values), self.step_s)


def part(
    piece: spans.Piece,
    answer: Sequence[Any],
    schemas: Mapping[bytes, tuple[str, ...]],
    series: str,
) -> Part:
    """Return a piece's values of a series.

    Raises:
        StoreError: the piece or the column is damaged, or nobody knows its schema.
    """
    if piece.kind == spans.HEAD:
        ticks = np.array(list(map(int, answer[1].split())), np.int64)
        values = np.frombuffer(answer[2], "<f8")
        order = np.argsort(ticks)
        ticks, values = ticks[order], values[order]
        run = len(ticks) > 0 and int(ticks[-1] - ticks[0]) + 1 == len(ticks)
        begin = int(ticks[0]) if run else 0
        return Part(piece.rank, piece.step_s, begin, None if run else ticks, values)
    head = chunks.header(answer[1])
    names = schemas.get(head.schema_id, ())
    if len(names) != head.columns or series not in names:
        raise StoreError("its schema is gone, or has other series.")
    return _of(piece, head, chunks.column(head, names.index(series), answer[2]))


def of_column(table: Table, place: int, blob: bytes) -> Part:
    """Return a sealed piece's values of the series at a place.

    Raises:
        StoreError: the blob is damaged, or not the one that the table tells of.
    """
    return _of(table.piece, table.head, chunks.column(table.head, place, blob))


def _of(piece: spans.Piece, head: chunks.Header, values: NDArray[np.float64]) -> Part:
    begin = head.begin
    ticks = head.ticks() if begin is None else None
    return Part(piece.rank, piece.step_s, begin or 0, ticks, values)


def joined(parts: list[Part], start_s: float, end_s: float) -> Series:
    """Return ``(times_s, values)`` in ``[start_s, end_s)``; of one time the later piece counts."""
    parts = [one for one in parts if len(one.values)]
    if not parts:
        return np.empty(0), np.empty(0)
    parts.sort(key=lambda one: one.rank)
    values = np.concatenate([one.values for one in parts])
    if _follow(parts):
        first = parts[0]
        times = _counted_s(first.begin, len(values), first.step_s)
    else:
        times = np.concatenate([one.times_s() for one in parts])
        order = rows.newest(times)
        times, values = times[order], values[order]
    inside = slice(*np.searchsorted(times, (start_s, end_s)))
    return rows.present(times[inside], values[inside])


def _times_s(ticks: NDArray[np.int64], step_s: float) -> NDArray[np.float64]:
    return np.multiply(ticks, step_s, dtype=np.float64)


def _counted_s(begin: int, count: int, step_s: float) -> NDArray[np.float64]:
    times = np.arange(float(begin), float(begin + count))  # ticks are far below 2**53
    times *= step_s
    return times


def _follow(parts: list[Part]) -> bool:
    """Tell whether each part begins where the one before it ends."""
    step_s, at = parts[0].step_s, parts[0].begin
    for one in parts:
        if one.ticks is not None or one.step_s != step_s or one.begin != at:
            return False
        at += len(one.values)
    return True
