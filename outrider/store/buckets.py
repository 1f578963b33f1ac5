"""Sketches of timings as bytes: those of many series and times as one block.

Bytes are msgpack in a zstd frame with a checksum. What is read from a server is checked like any
other input: sizes before anything is made, indices and counts by ``sketch.is_sound``.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import zstandard

from outrider import sketch
from outrider.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

Buckets = dict[int, int]
# At one time: series -> sketch.
Sketches = dict[str, Buckets]

MOST_SERIES = 10_000
_MOST_BYTES = 64 << 20
_LEVEL = 9

# A block: series -> [(time in ms from the block's start, steps between indices, counts)].
_Block = dict[str, list[tuple[int, list[int], list[int]]]]
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Block)


def checked(buckets: object) -> Buckets:
    """Return a sketch that came from outside, without empty buckets.

    Raises:
        StoreError: it is none: an index or a count is not a whole number, or beyond bounds.
    """
    if not isinstance(buckets, dict):
        raise StoreError("a sketch is no table of counts; it is skipped.")
    if any(type(number) is not int for pair in buckets.items() for number in pair):
        raise StoreError("a sketch has an index or count that is not whole; it is skipped.")
    kept = {index: count for index, count in buckets.items() if count}
    if not sketch.is_sound(kept):
        raise StoreError("a sketch has an index or count beyond bounds; it is skipped.")
    return kept


def encode(by_time: Mapping[float, Sketches], start_s: float) -> bytes:
    """Return sketches as one block. Times count from ``start_s``, which the reader must know."""
    block: _Block = {}
    for at_s in sorted(by_time):
        for series, buckets in by_time[at_s].items():
            indices = sorted(buckets)
            steps = [after - before for before, after in itertools.pairwise([0, *indices])]
            counts = [buckets[index] for index in indices]
            row = (round((at_s - start_s) * 1000), steps, counts)
            block.setdefault(series, []).append(row)
    # A compressor of its own each time: one may not be shared by threads.
    compressor = zstandard.ZstdCompressor(_LEVEL, write_checksum=True)
    return compressor.compress(_ENCODER.encode(block))


def decode(block: bytes, start_s: float) -> dict[float, Sketches]:
    """Return the sketches of a block by time.

    Raises:
        StoreError: it is damaged, forged, or larger than any real one.
    """
    try:
        if not 0 <= zstandard.frame_content_size(block) <= _MOST_BYTES:
            raise StoreError("a block of sketches has no size, or is too large; it is skipped.")
        plain = zstandard.ZstdDecompressor().decompress(block, max_output_size=_MOST_BYTES)
        found = _DECODER.decode(plain)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError):
        raise StoreError("a block of sketches is damaged; it is skipped.") from None
    by_time: dict[float, Sketches] = {}
    for series, rows in found.items():
        for at_ms, steps, counts in rows:
            if len(steps) != len(counts) or len(steps) > sketch.MOST_BUCKETS:
                raise StoreError("a block of sketches is forged; it is skipped.")
            pairs = zip(itertools.accumulate(steps), counts, strict=True)
            by_time.setdefault(start_s + at_ms / 1000, {})[series] = checked(dict(pairs))
    return by_time
