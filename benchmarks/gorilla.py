"""How many bits Gorilla would take: the size of its encoding, bit for bit, of many series at once.

The encoding is that of the paper (Pelkonen et al., "Gorilla: a fast, scalable, in-memory time
series database", VLDB 2015, section 4.1): blocks with a header of 64 bits, the first time stamp as
14 bits, deltas of deltas of time stamps in 1, 9, 12, 16 or 36 bits; the first value whole, then the
XOR with the one before in 1 bit when nothing changed, in 2 bits and the meaningful ones when they
lie within those of the value before, in 13 bits and the meaningful ones otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER_BITS, _FIRST_BITS = 64, 14 + 64


def size_bits(ticks: NDArray[np.int64], column: NDArray[np.float64], step_s: int) -> int:
    """Return the size of one block of one series; ``ticks`` are those that have a value."""
    if not len(ticks):
        return 0
    deltas = np.diff(ticks, prepend=ticks[0] - 1) * step_s
    changes = np.diff(deltas, prepend=step_s)[1:]
    # The paper's ranges are [-63, 64], [-255, 256] and [-2047, 2048].
    size = np.maximum(changes - 1, -changes)
    stamps = np.select([changes == 0, size <= 63, size <= 255, size <= 2047],
                       [1, 9, 12, 16], 36).sum()  # fmt: skip
    bits = column.view(np.uint64)
    return _HEADER_BITS + _FIRST_BITS + int(stamps) + _xor_bits(bits[1:] ^ bits[:-1])


def _xor_bits(xors: NDArray[np.uint64]) -> int:
    total = int(np.count_nonzero(xors == 0))
    lead, trail = 65, 0  # no window yet: nothing lies within it
    for xor in xors[xors != 0].tolist():
        leading = min(64 - xor.bit_length(), 31)
        trailing = (xor & -xor).bit_length() - 1
        if leading >= lead and trailing >= trail:
            total += 2 + 64 - lead - trail
        else:
            lead, trail = leading, trailing
            total += 2 + 5 + 6 + 64 - lead - trail
    return total


def bytes_per_sample(
    ticks: NDArray[np.int64],
    table: NDArray[np.float64],
    *,
    block_ticks: int,
    step_s: int,
    missing: NDArray[np.bool_],
) -> float:
    """Return the mean over all samples of a table ``[ticks, series]``, in blocks of whole ticks."""
    bits = 0
    for start in range(0, len(ticks), block_ticks):
        rows = slice(start, start + block_ticks)
        for place in range(table.shape[1]):
            there = ~missing[rows, place]
            column = np.ascontiguousarray(table[rows, place][there])
            bits += size_bits(ticks[rows][there], column, step_s)
    return bits / 8 / max(1, int((~missing).sum()))
