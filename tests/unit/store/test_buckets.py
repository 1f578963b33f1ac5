from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from outrider import sketch
from outrider.errors import StoreError
from outrider.store import buckets

INDEX = st.one_of(st.integers(sketch.LOWEST, sketch.HIGHEST), st.just(sketch.ZERO_BUCKET))
SKETCH = st.dictionaries(INDEX, st.integers(1, 2**53), min_size=1, max_size=20)
BY_TIME = st.dictionaries(
    st.integers(0, 3599).map(float),
    st.dictionaries(st.text(max_size=10), SKETCH, min_size=1, max_size=4),
    max_size=6,
)


def forged(content: Any, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(msgspec.msgpack.encode(content))


@given(BY_TIME)
def test_sketches_come_back_as_they_went_in(by_time: dict[float, dict[str, Any]]) -> None:
    block = buckets.encode({1000 + at_s: each for at_s, each in by_time.items()}, 1000)

    assert {1000 + at_s: each for at_s, each in by_time.items()} == buckets.decode(block, 1000)


@pytest.mark.parametrize(
    "sketch_",
    [
        None, [1, 2], {"1": 2}, {1: 1.5}, {1: True}, {1: -1}, {10**9: 1}, {-(10**9): 1}, {1: 2**54},
    ],
)  # fmt: skip
def test_what_is_no_sketch_is_refused(sketch_: object) -> None:
    with pytest.raises(StoreError, match="skipped"):
        buckets.checked(sketch_)


def test_empty_buckets_are_left_out() -> None:
    assert buckets.checked({1: 0, 2: 3}) == {2: 3}


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"garbage",
        zstandard.ZstdCompressor().compress(b"no msgpack"),
        zstandard.ZstdCompressor().compress(b"\0" * (65 << 20)),  # a bomb
        zstandard.ZstdCompressor(write_content_size=False).compress(b"\x80"),
        forged([1, 2]),
        forged({"a": [(0, [1], [])]}),
        forged({"a": [(0, [1, 10**12], [1, 1])]}),
        forged({"a": [(0, [1] * 3000, [1] * 3000)]}),
        forged({"a": [(0, [1], [-5])]}),
    ],
)
def test_forged_blocks_are_refused(block: bytes) -> None:
    with pytest.raises(StoreError):
        buckets.decode(block, 0)


def test_flipped_and_cut_blocks_are_refused_never_a_crash() -> None:
    block = buckets.encode({0.0: {f"t{n}": {n: n + 1, n + 9: 2} for n in range(30)}}, 0)
    rng = random.Random(3)
    for _ in range(300):
        damaged = bytearray(block)
        damaged[rng.randrange(len(block))] ^= 1 << rng.randrange(8)
        try:
            assert buckets.decode(bytes(damaged), 0) == buckets.decode(block, 0)
        except StoreError:
            continue
    for length in range(len(block)):
        with pytest.raises(StoreError):
            buckets.decode(block[:length], 0)
