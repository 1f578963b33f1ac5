from __future__ import annotations

import datetime as dt
import math
import random
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.cache.codec import Codec, Entry
from outrider.errors import BadArgument, StoreError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@dataclass
class Price:
    symbol: str
    bids: tuple[float, ...]
    at: dt.datetime


def price() -> Price:
    return Price("BTC", (1.0, 2.5), dt.datetime(2024, 1, 2, tzinfo=dt.UTC))


@given(values)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    codec = Codec("f")
    entry = codec.decode(codec.encode(value, expires_s=12.5, warmed_from_s=3.0))
    assert repr(value) == repr(entry.value)
    assert (entry.expires_s, entry.warmed_from_s) == (12.5, 3.0)


def test_an_annotated_dataclass_comes_back_as_itself() -> None:
    codec = Codec.of(price)
    assert price() == codec.decode(codec.encode(price(), expires_s=1.0)).value


def test_a_value_that_belies_its_annotation_is_kept_as_it_is() -> None:
    codec = Codec("f", int)
    assert codec.decode(codec.encode("text", expires_s=1.0)).value == "text"


def test_nan_does_not_make_a_value_different() -> None:
    codec = Codec("f", list[float])
    assert math.isnan(codec.decode(codec.encode([math.nan], expires_s=1.0)).value[0])


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, object(), 2**70, [lambda: 1], {"a": (1,)}])
def test_a_value_that_would_not_come_back_is_refused_with_the_functions_name(value: Any) -> None:
    with pytest.raises(BadArgument, match=r"my\.loader returned a .* can't be cached"):
        Codec("my.loader").encode(value, expires_s=1.0)


def test_a_value_of_an_older_annotation_is_unreadable_rather_than_wrong() -> None:
    @dataclass
    class Older:
        symbol: str

    message = Codec("f", Older).encode(Older("BTC"), expires_s=1.0)
    with pytest.raises(StoreError):
        Codec("f", Price).decode(message)
    with pytest.raises(StoreError):
        Codec("f").decode(message)


@pytest.mark.parametrize("message", [b"", b"\xc1", b"nonsense", msgspec.msgpack.encode([1, 2])])
def test_a_damaged_message_is_named_as_such(message: bytes) -> None:
    with pytest.raises(StoreError, match="f"):
        Codec("f").decode(message)


def test_a_message_of_another_version_is_not_read() -> None:
    message = msgspec.msgpack.encode(Entry(99, "", False, 1.0, None, "value"))
    with pytest.raises(StoreError, match="version"):
        Codec("f").decode(message)


def test_long_values_are_compressed_where_it_pays() -> None:
    codec = Codec("f")
    text, noise = "outrider " * 1000, random.Random(1).randbytes(5000)
    message = codec.encode(text, expires_s=1.0)
    assert len(message) < 500
    assert codec.decode(message).value == text
    message = codec.encode(noise, expires_s=1.0)
    assert 5000 < len(message) < 5100
    assert codec.decode(message).value == noise


def test_a_compressed_message_that_is_cut_or_claims_too_much_is_unreadable() -> None:
    import zstandard

    codec = Codec("f")
    message = codec.encode("outrider " * 1000, expires_s=1.0)
    bomb = zstandard.ZstdCompressor().compress(b"\0" * (257 * 2**20))
    for damaged in (message[:20], message[:-3], message[:4], bomb):
        with pytest.raises(StoreError, match="f"):
            codec.decode(damaged)


def test_the_values_of_another_loader_version_are_not_read() -> None:
    message = Codec("f", loader_version="1").encode("value", expires_s=1.0)
    assert Codec("f", loader_version="1").decode(message).value == "value"
    with pytest.raises(StoreError, match="another version"):
        Codec("f", loader_version="2").decode(message)


def test_a_message_of_the_first_format_is_not_read() -> None:
    with pytest.raises(StoreError, match="f"):
        Codec("f").decode(msgspec.msgpack.encode([1, False, 1.0, None, "value"]))
