"""Histograms that can be added up: how long calls took, each figure within one per cent.

The logarithmic buckets of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", VLDB 2019). Bucket ``i`` holds what lies above
``GAMMA**(i - 1)`` and at or below ``GAMMA**i``, so that the value in the middle is at most one per
cent away from all of them. A histogram is a plain ``dict[int, int]``, bucket to number of values:
adding two up loses nothing, and the difference of two states of one is what came between.

The mapping is that of the ``ddsketch`` library with a relative accuracy of 0.01. Where that merges
the lowest buckets when there are too many, here the range is bounded: what is below a nanosecond,
which is no time at all, is one bucket, and so is what is above 18 years, which nobody waits. That
makes 2,048 buckets at most, whatever comes, and the same ones in every histogram.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate

TYPE_CHECKING = False  # typing alone would be a third of what a bot's start may cost
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RELATIVE_ERROR = 0.01
GAMMA = 1.01 / 0.99
# Buckets for each doubling; log2 takes half the time of log on Python 3.11.
PER_LOG2 = math.log(2) / math.log1p(2 * RELATIVE_ERROR / (1 - RELATIVE_ERROR))
MOST_BUCKETS = 2048
# What is below is counted as nothing, in a bucket below all others.
SMALLEST = 1e-9
ZERO_BUCKET = -(2**15)
LOWEST = math.ceil(math.log2(SMALLEST) * PER_LOG2)
HIGHEST = LOWEST + MOST_BUCKETS - 2  # with the bucket for nothing, that makes MOST_BUCKETS
LARGEST = 2 ** ((HIGHEST - 0.5) / PER_LOG2)
# A count above can't come from counting, and would not survive as a float.
MOST_COUNT = 2**53
_MIDDLE = 2.0 / (1.0 + GAMMA)


def index(value: float) -> int:
    """Return the bucket of a value; of nothing and less, ``ZERO_BUCKET``. NaN is nothing too.

    >>> index(1.0), index(0.25), index(0.0) == ZERO_BUCKET
    (0, -69, True)
    """
    if not value >= SMALLEST:
        return ZERO_BUCKET
    return math.ceil(math.log2(value) * PER_LOG2) if value < LARGEST else HIGHEST


def value(index: int) -> float:
    """Return the value that stands for all in a bucket.

    >>> round(value(-69), 3), value(ZERO_BUCKET)
    (0.249, 0.0)
    """
    return 0.0 if index == ZERO_BUCKET else 2.0 ** (index / PER_LOG2) * _MIDDLE


def of(values: Iterable[float]) -> dict[int, int]:
    """Return the histogram of values.

    >>> of([1.0, 1.0, 0.0])
    {0: 2, -32768: 1}
    """
    return of_counts((index(each), 1) for each in values)


def of_counts(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return the histogram of (bucket, count) pairs; the same bucket may come again."""
    buckets: dict[int, int] = {}
    for place, count in pairs:
        buckets[place] = buckets.get(place, 0) + count
    return buckets


def count(buckets: Mapping[int, int]) -> int:
    """Return how many values a histogram holds."""
    return sum(buckets.values())


def merge(*many: Mapping[int, int]) -> dict[int, int]:
    """Return histograms added up; none is changed.

    >>> merge({1: 2}, {1: 1, 3: 1})
    {1: 3, 3: 1}
    """
    return of_counts(pair for buckets in many for pair in buckets.items())


def difference(new: Mapping[int, int], old: Mapping[int, int]) -> dict[int, int]:
    """Return what came between two states of one histogram.

    When any bucket lost, counting began anew in between: all that is there now came since.

    >>> difference({1: 3, 2: 1}, {1: 2}), difference({1: 1}, {1: 2})
    ({1: 1, 2: 1}, {1: 1})
    """
    if any(new.get(place, 0) < before for place, before in old.items()):
        return dict(new)
    gained = ((place, now - old.get(place, 0)) for place, now in new.items())
    return {place: more for place, more in gained if more}


def quantile(buckets: Mapping[int, int], q: float) -> float:
    """Return the value below which a share ``q`` (0..1) of all lies; NaN when there are none."""
    return quantiles(buckets, (q,))[0]


def quantiles(buckets: Mapping[int, int], qs: Sequence[float]) -> list[float]:
    """Return several quantiles, each at most one per cent away from the exact one.

    The exact one has the rank ``floor(q * (count - 1))`` from below, as in ``ddsketch``. All are
    NaN when the histogram is empty.

    >>> [round(each, 2) for each in quantiles(of([1, 2, 3, 4, 5]), (0, 0.5, 1))]
    [0.99, 2.97, 5.0]
    """
    places = sorted(buckets)
    below = list(accumulate(buckets[place] for place in places))
    if not below or not below[-1]:
        return [math.nan] * len(qs)
    return [value(places[bisect_right(below, q * (below[-1] - 1))]) for q in qs]


def is_sound(buckets: Mapping[int, int]) -> bool:
    """Tell whether all buckets and counts are such as counting gives; others come from a forger."""
    return len(buckets) <= MOST_BUCKETS and all(
        (LOWEST <= place <= HIGHEST or place == ZERO_BUCKET) and 0 < number <= MOST_COUNT
        for place, number in buckets.items()
    )


def encode(buckets: Mapping[int, int]) -> bytes:
    """Return a histogram as bytes, some two a bucket.

    Gaps between buckets and counts, as variable-length integers, lowest bucket first. The first gap
    is counted from ``ZERO_BUCKET``.
    """
    written = bytearray()
    last = ZERO_BUCKET
    for place in sorted(buckets):
        _write(written, place - last)
        _write(written, buckets[place])
        last = place
    return bytes(written)


def decode(message: bytes) -> dict[int, int]:
    """Return the histogram in bytes made by :func:`encode`.

    Raises:
        ValueError: they were not; nothing outside the bounds is ever returned.
    """
    numbers = _read(message)
    if len(numbers) % 2 or len(numbers) > 2 * MOST_BUCKETS:
        raise ValueError(f"{len(numbers)} numbers are no histogram.")
    places = list(accumulate(numbers[::2], initial=ZERO_BUCKET))[1:]
    buckets = dict(zip(places, numbers[1::2], strict=True))
    if len(buckets) < len(places) or not is_sound(buckets):
        raise ValueError("a bucket is out of order or out of range.")
    return buckets


def _write(written: bytearray, number: int) -> None:
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte, the highest says that more follow
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)


def _read(message: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in message:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004
            numbers.append(number)
            number = shift = 0
        elif shift > 63:  # noqa: PLR2004 - none that long was written
            raise ValueError("a number has no end.")
    if shift:
        raise ValueError("the last number has no end.")
    return numbers
