"""Where the columns of sealed pieces lie, remembered: a read then asks for the bytes themselves.

A sealed piece does not change, only another may come in its place, under its name even. What is
fetched by a table that is out of date does not fit its checksum, which begins with that of the
header; then the table is forgotten and the server is asked to look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outrider.store import chunks
from outrider.store.scripts import encoded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.store import spans

_TABLES_KEPT = 256  # a host: a day at 1 s is a hundred
_MOST_BYTES = 8 * 2**20  # learned since all was forgotten last: a table is four bytes a series
_ENTRY = 4


@dataclass(frozen=True, slots=True)
class Table:
    """A sealed piece without its columns. ``ends`` are their places, from ``base`` on."""

    piece: spans.Piece
    name: bytes
    encoded_name: bytes
    head: chunks.Header
    base: int
    ends: memoryview

    def asking(self, place: int) -> bytes:
        """Return what ``read.lua`` wants to know to fetch a column: name, first and last byte."""
        at = place // self.head.group
        first = b"%d" % (self.base + self.ends[at])
        last = b"%d" % (self.base + self.ends[at + 1] - 1)
        return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
            self.encoded_name, len(first), first, len(last), last,
        )  # fmt: skip


def table(piece: spans.Piece, packed: bytes) -> Table | None:
    """Return the table of a piece; None when ``packed`` ends before it does.

    Raises:
        StoreError: the header is damaged.
    """
    head = chunks.header(packed)
    begin = chunks.HEADER.size + len(head.bitmap)
    base = begin + _ENTRY * (head.blobs() + 1)
    if len(packed) != base:
        return None
    name = piece.name.encode()
    # Four bytes each as a view of an array, and whole numbers when looked at.
    ends = np.frombuffer(packed, "<u4", offset=begin).astype("=u4").data
    return Table(piece, name, encoded(name), head, base, ends)


class Tables:
    """The tables of one tier's pieces. Safe for threads: nothing shared is changed."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, Table]] = {}
        self._bytes = 0

    def between(self, host: str, start_s: float, end_s: float) -> list[Table]:
        """Return those of the pieces that may have rows in a range, the first first."""
        return [
            known
            for known in self._known.get(host, {}).values()
            if known.piece.end_s > start_s and known.piece.start_s < end_s
        ]

    def learn(self, host: str, found: Iterable[Table]) -> None:
        """Remember tables."""
        fresh = {known.name: known for known in found}
        if not fresh:
            return
        self._bytes += sum(known.ends.nbytes for known in fresh.values())
        if self._bytes > _MOST_BYTES:
            self._known, self._bytes = {}, 0
        everything = {**self._known.get(host, {}), **fresh}.values()
        kept = sorted(everything, key=lambda known: known.piece.end_s)[-_TABLES_KEPT:]
        self._known = {**self._known, host: {known.name: known for known in kept}}

    def forget(self, host: str, gone: Iterable[bytes]) -> None:
        """Forget the tables of pieces that are not there any more, or are others by now."""
        names = set(gone)
        if names and host in self._known:
            left = {name: known for name, known in self._known[host].items() if name not in names}
            self._known = {**self._known, host: left}
