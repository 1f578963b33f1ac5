"""The memory of an estimator over many series: named columns side by side, as checked bytes.

All of a host's series share one table, so that a tick is a few dozen operations on arrays whatever
their number. Its bytes carry a version and a checksum: a damaged table is refused, not believed.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import zstandard

from outrider.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MAGIC = b"OT1\0"
_HEADER = struct.Struct("<4sII")  # magic, crc32 of the rest, bytes of the head
# Twenty thousand series of a hundred numbers; bounds what a forged table can ask for.
MOST_BYTES = 64 << 20


class _Head(msgspec.Struct):
    kind: str
    at_s: float | None
    count: int
    columns: dict[str, int]


class Table:
    """Columns of float64, shape ``[count]`` or ``[count, width]``.

    ``columns`` gives each column's width and the value of a series that is new; width 0 is a plain
    column.
    """

    def __init__(self, columns: Mapping[str, tuple[int, float]], count: int = 0) -> None:
        self._columns = dict(columns)
        self.count = count
        self._held = {name: self._new(name, count) for name in columns}

    def __getitem__(self, name: str) -> Floats:
        return self._held[name]

    def __setitem__(self, name: str, values: Floats) -> None:
        self._held[name][...] = values

    def renew(self, places: NDArray[np.int64] | NDArray[np.bool_], *names: str) -> None:
        """Set columns (all of them, when none is named) back to those of a new series."""
        for name in names or self._columns:
            self._held[name][places] = self._columns[name][1]

    def select(self, places: NDArray[np.int64]) -> None:
        """Keep the series at these places, in this order; -1 makes a new one."""
        new = places < 0
        for name in self._columns:
            chosen = self._new(name, len(places))
            chosen[~new] = self._held[name][places[~new]]
            self._held[name] = chosen
        self.count = len(places)

    def dumps(self, kind: str, at_s: float) -> bytes:
        """Return all of it as bytes; ``kind`` names the estimator, ``at_s`` its last sample."""
        head = msgspec.json.encode(
            _Head(
                kind,
                float(at_s) if np.isfinite(at_s) else None,
                self.count,
                {name: width for name, (width, _) in self._columns.items()},
            )
        )
        numbers = b"".join(self._held[name].astype("<f8").tobytes() for name in self._columns)
        body = head + zstandard.compress(numbers, 1)
        return _HEADER.pack(_MAGIC, zlib.crc32(body), len(head)) + body

    def loads(self, kind: str, packed: bytes) -> float:
        """Take what ``dumps`` gave, and return its ``at_s``; nothing changes when it is refused.

        Raises:
            StoreError: it is damaged, or of another estimator or version.
        """
        try:
            return self._load(kind, packed)
        except (struct.error, msgspec.MsgspecError, zstandard.ZstdError, ValueError) as error:
            raise StoreError(
                f"the state of {kind} can't be read ({error}); delete it, and it is learned anew."
            ) from None

    def _load(self, kind: str, packed: bytes) -> float:
        magic, checksum, size = _HEADER.unpack_from(packed)
        body = packed[_HEADER.size :]
        if magic != _MAGIC or zlib.crc32(body) != checksum:
            raise ValueError("wrong checksum")
        head = msgspec.json.decode(body[:size], type=_Head)
        wanted = {name: width for name, (width, _) in self._columns.items()}
        if head.kind != kind or head.columns != wanted or head.count < 0:
            raise ValueError("another version")
        numbers = sum(width or 1 for width in wanted.values()) * head.count
        if numbers * 8 > MOST_BYTES:
            raise ValueError("too large")
        raw = zstandard.ZstdDecompressor().decompress(body[size:], max_output_size=numbers * 8 or 1)
        found = np.frombuffer(raw, "<f8")
        if len(found) != numbers:
            raise ValueError("wrong length")
        held, start = {}, 0
        for name, width in wanted.items():
            until = start + head.count * (width or 1)
            shape = (head.count, width) if width else (head.count,)
            held[name] = found[start:until].reshape(shape).astype(np.float64)
            start = until
        self._held, self.count = held, head.count
        return -np.inf if head.at_s is None else head.at_s

    def _new(self, name: str, count: int) -> Floats:
        width, fill = self._columns[name]
        return np.full((count, width) if width else count, fill, dtype=np.float64)
