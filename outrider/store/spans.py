"""How ticks are grouped: ranges that are sealed first, chunks that ranges are merged into, pieces.

A *range* is about sixty ticks and at least five minutes, so that a five-minute summary finds its
rows in one; a *chunk* is as many ranges as make 720 ticks. Both begin at multiples of five minutes
since 1970, whenever the interval allows it: 10 s gives ranges of ten minutes in chunks of two
hours, 1 s gives ranges of five minutes in chunks of a quarter of an hour.

A *piece* is what lies under one key: the raw rows of a range (its head), a sealed range, or a
sealed chunk. Its name says interval, first tick and length, so that pieces of an interval that the
settings had before stay readable.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD, RANGE, CHUNK = "h", "m", "s"
ALIGNED_S = 300
# Keys end by themselves so long after what they hold is no longer wanted.
MARGIN_S = 3600
_RANGE_TICKS, _CHUNK_TICKS = 60, 720
# An interval such as 7.77 s meets a multiple of five minutes after 30,000 ticks only: too many.
_MOST_RANGE_TICKS = 3000


@dataclass(frozen=True, slots=True)
class Spans:
    """The lengths of ranges and chunks, in ticks."""

    range_ticks: int
    chunk_ticks: int


@functools.cache
def spans(interval_s: float) -> Spans:
    """Return how many ticks of ``interval_s`` make a range, and a chunk.

    >>> spans(10.0), spans(1.0)
    (Spans(range_ticks=60, chunk_ticks=720), Spans(range_ticks=300, chunk_ticks=900))
    """
    unit = (Fraction(repr(float(interval_s))) / ALIGNED_S).denominator
    if unit > _MOST_RANGE_TICKS:
        unit = _RANGE_TICKS  # such an interval is not aligned
    range_ticks = unit * math.ceil(_RANGE_TICKS / unit)
    return Spans(range_ticks, range_ticks * math.ceil(_CHUNK_TICKS / range_ticks))


@dataclass(frozen=True, slots=True)
class Piece:
    """What lies under one key: ``ticks`` ticks of ``step_s`` from tick number ``first``."""

    kind: str
    step_s: float
    first: int
    ticks: int

    @property
    def name(self) -> str:
        """Return what the piece is called in the index, and at the end of its key."""
        return f"{self.kind}:{self.step_s:.17g}:{self.first}:{self.ticks}"

    @property
    def rank(self) -> int:
        """Return its place among pieces: of two rows of one tick that of the later piece counts."""
        return "smh".index(self.kind)

    @property
    def start_s(self) -> float:
        """Return when its first tick begins."""
        return self.first * self.step_s

    @property
    def end_s(self) -> float:
        """Return when its last tick is over."""
        return (self.first + self.ticks) * self.step_s


def piece(kind: str, tick: int, interval_s: float) -> Piece:
    """Return the piece of a kind that ``tick`` belongs to."""
    lengths = spans(interval_s)
    ticks = lengths.chunk_ticks if kind == CHUNK else lengths.range_ticks
    return Piece(kind, interval_s, tick // ticks * ticks, ticks)


@functools.lru_cache(maxsize=4096)
def named(name: str) -> Piece | None:
    """Return the piece of that name; None for a name that is not ours.

    >>> named("s:10:169999920:720").end_s
    1700006400.0
    """
    kind, _, rest = name.partition(":")
    try:
        step_s, first, ticks = rest.split(":")
        found = Piece(kind, float(step_s), int(first), int(ticks))
    except ValueError:
        return None
    return found if kind in (HEAD, RANGE, CHUNK) and found.ticks > 0 and found.step_s > 0 else None


@dataclass(frozen=True, slots=True)
class Step:
    """Pieces that become one."""

    sources: tuple[Piece, ...]
    target: Piece

    @property
    def covers_s(self) -> tuple[float, float]:
        """Return the time that the sources cover, whole ranges."""
        return (
            min(piece.start_s for piece in self.sources),
            max(piece.end_s for piece in self.sources),
        )


def plan(pieces: Sequence[Piece], now_s: float) -> Iterator[Step]:
    """Say what is to be sealed and merged, the oldest first.

    A range is over an interval after its end: its last row may still be on the way.
    """
    by_chunk: dict[tuple[float, int], list[Piece]] = {}
    for one in pieces:
        chunk = piece(CHUNK, one.first, one.step_s)
        if one.end_s + one.step_s <= now_s:
            by_chunk.setdefault((chunk.step_s, chunk.first), []).append(one)
    for (step_s, first), over in sorted(by_chunk.items(), key=lambda item: math.prod(item[0])):
        fresh = [one for one in over if one.kind != CHUNK]
        chunk = piece(CHUNK, first, step_s)
        if not fresh:
            continue
        if chunk.end_s + step_s <= now_s:
            yield Step(tuple(sorted(over, key=_rank)), chunk)
            continue
        for head in sorted(one.first for one in fresh if one.kind == HEAD):
            of_range = sorted((one for one in fresh if one.first == head), key=_rank)
            yield Step(tuple(of_range), piece(RANGE, head, step_s))


def _rank(one: Piece) -> tuple[int, int]:
    return one.rank, one.first
