from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from outrider.channel import envelopes
from outrider.channel.envelopes import BadFrame, Offer, Publish, Request
from outrider.errors import BadArgument

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(PLAIN))
def test_bodies_arrive_as_they_were_sent(bodies: list[Any]) -> None:
    raw = envelopes.array([envelopes.encode_body(body) for body in bodies])
    said = envelopes.decode_to_hub(envelopes.encode([Publish("t", raw)]))

    assert isinstance(said[0], Publish)
    assert len(bodies) == envelopes.count(said[0].bodies)
    assert bodies == envelopes.decode_bodies(said[0].bodies)


@pytest.mark.parametrize("many", [0, 15, 16, 65_535, 65_536])
def test_an_array_is_counted_however_its_length_is_written(many: int) -> None:
    assert many == envelopes.count(Raw(msgspec.msgpack.encode([0] * many)))


def test_what_is_no_array_has_no_count() -> None:
    with pytest.raises(BadFrame, match="not an array"):
        envelopes.count(Raw(msgspec.msgpack.encode({"a": 1})))


@given(st.binary())
def test_any_bytes_are_a_frame_or_refused(noise: bytes) -> None:
    for decode in (envelopes.decode_to_hub, envelopes.decode_to_bot):
        try:
            found = decode(noise)
        except BadFrame:
            continue
        assert isinstance(found, list)


@given(st.lists(PLAIN))
def test_any_plain_data_is_envelopes_or_refused(said: list[Any]) -> None:
    try:
        found = envelopes.decode_to_hub(msgspec.msgpack.encode(said))
    except BadFrame:
        return
    assert all(isinstance(each, msgspec.Struct) for each in found)


@pytest.mark.parametrize(
    "said",
    [
        Offer("", 1),
        Offer("x" * 129, 1),
        Offer("load", -1),
        Offer("load", 1_000_000),
        Request(-1, "load", "canary", "", 1.0, False, envelopes.NOTHING),
        Request(1, "load", "canary", "", -1.0, False, envelopes.NOTHING),
        Request(1, "load", "canary", "", float("nan"), False, envelopes.NOTHING),
        Request(1, "load", "canary", "", float("inf"), False, envelopes.NOTHING),
        envelopes.Welcome("canary", "canary"),
    ],
)
def test_the_hub_refuses_what_no_bot_may_say(said: Any) -> None:
    with pytest.raises(BadFrame):
        envelopes.decode_to_hub(envelopes.encode([said]))


def test_a_frame_of_too_many_envelopes_is_refused() -> None:
    many = [Offer("x", 1)] * (envelopes.MOST_AT_ONCE + 1)

    with pytest.raises(BadFrame):
        envelopes.decode_to_hub(envelopes.encode(many))


def test_endless_nesting_is_refused() -> None:
    deep = b"\x91\x93\x04\xa1t" + b"\x91" * 100_000

    with pytest.raises(BadFrame):
        envelopes.decode_to_hub(deep)


def test_a_body_that_cannot_be_sent_says_why() -> None:
    with pytest.raises(BadArgument, match="can't hold this object"):
        envelopes.encode_body(object())
    with pytest.raises(BadArgument, match="the most is 1,044,480"):
        envelopes.encode_body(b"x" * (1 << 20))


def test_the_longest_body_fits_into_a_frame_with_the_longest_names() -> None:
    body = Raw(envelopes.encode_body(b"x" * (envelopes.MOST_BODY_BYTES - 5)))
    name = "\N{PILE OF POO}" * 128
    asked = Request(1 << 53, name, name, name, 3600.0, True, body)

    assert len(envelopes.encode([asked])) + 5 <= envelopes.MOST_FRAME_BYTES
