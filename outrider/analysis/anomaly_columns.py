"""The state of an anomaly bank as bytes: its clock, then a column after the other, compressed.

Column by column, as what is alike stands together: flags, empty buckets and counts shrink to next
to nothing. Magic and version, check sum, count and clock come first. What a column holds, and how
wide it is, is the version's matter: a state of other widths is refused, not guessed at.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from outrider.analysis.anomaly_block import COLUMNS, Block
from outrider.analysis.anomaly_clock import Clock
from outrider.analysis.anomaly_tuning import DEFAULT
from outrider.errors import BadArgument, StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"oab\x02"
_HEAD = struct.Struct("<4sIIq6d")
# Bounds what a forged state can ask for.
_MOST_SERIES = 100_000


def dumps(clock: Clock, block: Block) -> bytes:
    """Return the state. Raises BadArgument for a tuning of your own."""
    if clock.set_to != DEFAULT:
        raise BadArgument("only banks with the shipped tuning have a state; leave out set_to")
    numbers = b"".join(_little(getattr(block, name)).tobytes() for name in COLUMNS)
    packed = zstandard.compress(numbers, 1)
    times = (clock.last_s, clock.step_s, clock.age, clock.faded, clock.horizon, clock.seen_s)
    head = _HEAD.pack(_MAGIC, 0, len(block.counters), clock.ticks, *times)
    return head[:4] + struct.pack("<I", zlib.crc32(head[8:] + packed)) + head[8:] + packed


def loads(state: bytes) -> tuple[Clock, Block]:
    """Return clock and series. Raises StoreError when the bytes are not such a state."""
    try:
        return _loads(state)
    except (struct.error, zstandard.ZstdError, ValueError) as error:
        raise StoreError(
            f"anomaly bank of {len(state)} bytes beginning {state[:4]!r} can't be read ({error}). "
            "Delete it, and it is learned anew."
        ) from None


def _loads(state: bytes) -> tuple[Clock, Block]:
    magic, checksum, count, ticks, *times = _HEAD.unpack_from(state)
    if magic != _MAGIC:
        raise ValueError(f"another version than {_MAGIC!r}")
    if zlib.crc32(state[8:]) != checksum:
        raise ValueError("wrong check sum")
    if count > _MOST_SERIES:
        raise ValueError(f"{count} series are too many")
    clock, block = Clock(DEFAULT, ticks, *times), Block(np.zeros(count, dtype=bool), DEFAULT)
    wanted = sum(getattr(block, name).nbytes for name in COLUMNS)
    opener = zstandard.ZstdDecompressor()
    numbers, start = opener.decompress(state[_HEAD.size :], max_output_size=wanted or 1), 0
    if len(numbers) != wanted:
        raise ValueError(f"{len(numbers)} bytes of numbers for {wanted}")
    for name in COLUMNS:
        column = getattr(block, name)
        found = np.frombuffer(numbers, _little(column).dtype, column.size, start)
        column[...] = found.reshape(column.shape)
        start += column.nbytes
    block.derive(clock)
    return clock, block


def _little(column: NDArray[np.generic]) -> NDArray[np.generic]:
    return column.astype(column.dtype.newbyteorder("<"), copy=False)
