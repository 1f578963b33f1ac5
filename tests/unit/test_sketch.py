from __future__ import annotations

import math
import random
from typing import Any

import pytest
from ddsketch import DDSketch
from hypothesis import given
from hypothesis import strategies as st

from outrider import sketch

# All but what lies beyond the ends, of which one per cent can't be promised.
DURATIONS = st.floats(sketch.SMALLEST, sketch.LARGEST)
HISTOGRAMS = st.lists(DURATIONS | st.just(0.0), max_size=50).map(sketch.of)
QUANTILES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)


def exact(values: list[float], q: float) -> float:
    return sorted(values)[math.floor(q * (len(values) - 1))]


def library(values: list[float]) -> Any:
    found = DDSketch(relative_accuracy=sketch.RELATIVE_ERROR)
    for value in values:
        found.add(value)
    return found


@given(st.lists(DURATIONS | st.just(0.0), min_size=1, max_size=200))
def test_a_quantile_is_at_most_one_per_cent_from_the_exact_one(values: list[float]) -> None:
    buckets = sketch.of(values)
    for q, found in zip(QUANTILES, sketch.quantiles(buckets, QUANTILES), strict=True):
        assert abs(found - exact(values, q)) <= 0.01 * exact(values, q) * (1 + 1e-9)


def test_quantiles_of_many_skewed_durations_are_within_one_per_cent() -> None:
    chance = random.Random(7)
    values = [chance.lognormvariate(-5, 2) for _ in range(100_000)]
    buckets = sketch.of(values)

    for q in (0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999):
        assert sketch.quantile(buckets, q) == pytest.approx(exact(values, q), rel=0.01)


@given(st.lists(DURATIONS, min_size=1, max_size=50))
def test_buckets_are_those_of_the_ddsketch_library(values: list[float]) -> None:
    theirs = library(values)
    for value in values:
        near = {sketch.index(value * (1 - 1e-12)), sketch.index(value * (1 + 1e-12))}
        assert theirs._mapping.key(value) in near | {sketch.index(value)}
        place = sketch.index(value)
        assert sketch.value(place) == pytest.approx(theirs._mapping.value(place), rel=1e-9)


@given(st.lists(st.integers(1, 10**6).map(lambda n: n / 1000.0), min_size=1, max_size=100))
def test_quantiles_are_those_of_the_ddsketch_library(values: list[float]) -> None:
    theirs = library(values)
    for q in QUANTILES:
        found = sketch.quantile(sketch.of(values), q)
        # A value at a bucket's edge may be counted on either side of it.
        assert found == pytest.approx(theirs.get_quantile_value(q), rel=0.0203)


def test_the_library_takes_our_buckets_and_merges_them() -> None:
    ours, theirs = sketch.of([0.1, 0.2, 0.2]), library([0.3, 0.4])
    for place, count in ours.items():
        theirs.add(sketch.value(place), count)

    assert theirs.count == 5
    assert theirs.get_quantile_value(0.5) == pytest.approx(0.2, rel=0.0101)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (0.0, sketch.ZERO_BUCKET), (-1.0, sketch.ZERO_BUCKET), (math.nan, sketch.ZERO_BUCKET),
        (1e-10, sketch.ZERO_BUCKET), (-math.inf, sketch.ZERO_BUCKET),
        (sketch.SMALLEST, sketch.LOWEST), (sketch.LARGEST, sketch.HIGHEST),
        (1e300, sketch.HIGHEST), (math.inf, sketch.HIGHEST), (1.0, 0),
    ],
)  # fmt: skip
def test_what_is_beyond_the_ends_has_a_bucket_there(value: float, place: int) -> None:
    assert sketch.index(value) == place


@given(st.lists(st.floats(), max_size=200))
def test_no_values_make_a_histogram_that_is_too_large(values: list[float]) -> None:
    assert sketch.is_sound(sketch.of(values))
    assert sketch.HIGHEST - sketch.LOWEST + 2 == sketch.MOST_BUCKETS


@given(HISTOGRAMS, HISTOGRAMS, HISTOGRAMS)
def test_merging_loses_nothing_in_whatever_order(
    a: dict[int, int], b: dict[int, int], c: dict[int, int]
) -> None:
    merged = sketch.merge(a, b, c)

    assert merged == sketch.merge(c, sketch.merge(b, a))
    assert sketch.count(merged) == sketch.count(a) + sketch.count(b) + sketch.count(c)


@given(HISTOGRAMS, HISTOGRAMS)
def test_the_difference_of_two_states_is_what_came_between(
    old: dict[int, int], came: dict[int, int]
) -> None:
    assert came == sketch.difference(sketch.merge(old, came), old)


@given(HISTOGRAMS, HISTOGRAMS.filter(bool))
def test_counting_that_began_anew_is_noticed(new: dict[int, int], lost: dict[int, int]) -> None:
    assert new == sketch.difference(new, sketch.merge(new, lost))


def test_an_empty_histogram_has_no_quantile() -> None:
    assert all(map(math.isnan, sketch.quantiles({}, QUANTILES)))
    assert math.isnan(sketch.quantile({5: 0}, 0.5))


@given(HISTOGRAMS)
def test_a_histogram_comes_back_from_bytes(buckets: dict[int, int]) -> None:
    assert buckets == sketch.decode(sketch.encode(buckets))


def test_the_largest_histogram_comes_back_from_bytes() -> None:
    places = [sketch.ZERO_BUCKET, *range(sketch.LOWEST, sketch.HIGHEST + 1)]
    buckets = dict.fromkeys(places, sketch.MOST_COUNT)

    assert buckets == sketch.decode(sketch.encode(buckets))


def test_bytes_are_few() -> None:
    chance = random.Random(7)
    buckets = sketch.of(chance.lognormvariate(-5, 0.5) for _ in range(1000))

    assert len(sketch.encode(buckets)) <= 2.1 * len(buckets)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_sound_histogram_or_a_value_error(message: bytes) -> None:
    try:
        buckets = sketch.decode(message)
    except ValueError:
        return
    assert sketch.is_sound(buckets)


@given(HISTOGRAMS.filter(bool), st.data())
def test_damaged_bytes_are_a_sound_histogram_or_a_value_error(
    buckets: dict[int, int], data: st.DataObject
) -> None:
    message = bytearray(sketch.encode(buckets))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert sketch.is_sound(sketch.decode(bytes(message)))
    except ValueError:
        return


@pytest.mark.parametrize(
    "message",
    [
        b"\x80",
        b"\x01",
        b"\xff" * 20,
        b"\x00\x01\x00\x01",
        b"\x00\x00",
        b"\x05\x01",
        b"\x00\x01" * 9,
    ],
)
def test_bytes_that_no_histogram_has_are_refused(message: bytes) -> None:
    with pytest.raises(ValueError):
        sketch.decode(message)


@pytest.mark.parametrize(
    "forged",
    [{10**9: 1}, {5: 0}, {5: -1}, {5: 2**60}, {-1037: 1}, dict.fromkeys(range(3000), 1)],
)
def test_buckets_that_no_values_give_are_not_sound(forged: dict[int, int]) -> None:
    assert not sketch.is_sound(forged)
