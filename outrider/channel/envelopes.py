"""What is said over the channel: envelopes, and frames of them.

A frame is four bytes of length, big-endian, and one MessagePack array of envelopes. An envelope is
an array too, its kind first. Bodies stay encoded (``Raw``) until they are where they are used, and
the bodies that a bot publishes to one topic at one time travel in one envelope: the hub's work is
a matter of envelopes, not of messages.

What comes in is checked against the types by the decoder itself, so that nothing else has to look.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any

from msgspec import DecodeError, Meta, Raw, Struct, ValidationError, msgpack

from outrider.errors import BadArgument

VERSION = 1
LENGTH_BYTES = 4
MOST_FRAME_BYTES = 1 << 20
# The hub adds names to what it forwards.
MOST_FRAME_TO_BOT_BYTES = 2 * MOST_FRAME_BYTES
# Of a body, so that its frame has room for the names around it.
MOST_BODY_BYTES = MOST_FRAME_BYTES - 4096
# Envelopes in a frame and bodies in an envelope: one frame must not hold the hub for long.
MOST_AT_ONCE = 4096
MOST_WITHIN_S = 3600.0
SUPERVISOR = "supervisor"

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Choice = Annotated[str, Meta(max_length=128)]
Number = Annotated[int, Meta(ge=0, le=1 << 53)]
Within = Annotated[float, Meta(ge=0, le=MOST_WITHIN_S)]


class Hello(Struct, array_like=True, tag=0, frozen=True, gc=False):
    """A bot's first word."""

    version: Number


class Welcome(Struct, array_like=True, tag=1, frozen=True, gc=False):
    """Who the hub takes the bot for."""

    instance: str
    bot: str


class Subscribe(Struct, array_like=True, tag=2, frozen=True, gc=False):
    """From now on, or no more."""

    topic: Name
    wanted: bool


class Offer(Struct, array_like=True, tag=3, frozen=True, gc=False):
    """A function is served to all or ``only`` one; ``at_once`` 0 withdraws it."""

    name: Name
    at_once: Annotated[int, Meta(ge=0, le=MOST_AT_ONCE)]
    only: Choice = ""


class Publish(Struct, array_like=True, tag=4, frozen=True, gc=False):
    """Bodies for whoever subscribed; ``bodies`` is an array."""

    topic: Name
    bodies: Raw


class Deliver(Struct, array_like=True, tag=5, frozen=True, gc=False):
    """The same on its way to a subscriber; the hub says who sent it."""

    topic: str
    sender: str
    bodies: Raw


class Request(Struct, array_like=True, tag=6, frozen=True, gc=False):
    """A question to any instance of ``bot``, or to one ``instance``."""

    id: Number
    name: Name
    bot: Choice
    instance: Choice
    within_s: Within
    idempotent: bool
    body: Raw


class Call(Struct, array_like=True, tag=7, frozen=True, gc=False):
    """A question on its way to the one that answers it; the id is the hub's."""

    id: Number
    name: str
    sender: str
    within_s: float
    body: Raw


class Reply(Struct, array_like=True, tag=8, frozen=True, gc=False):
    """An answer; with a ``problem`` (see ``outrider.channel.problems``) the body is its text."""

    id: Number
    problem: Choice
    body: Raw


class Goodbye(Struct, array_like=True, tag=9, frozen=True, gc=False):
    """Why the hub closes the connection."""

    reason: str


ToHub = Hello | Subscribe | Offer | Publish | Request | Reply
ToBot = Welcome | Deliver | Call | Reply | Goodbye

_encoder = msgpack.Encoder()
encode = _encoder.encode
decode_body = msgpack.Decoder().decode
decode_bodies = msgpack.Decoder(list[Any]).decode
NOTHING = Raw(encode(None))


class BadFrame(ValueError):  # noqa: N818 - reads as the message it is
    """What came over a connection is not what the channel speaks."""


def encode_body(body: Any) -> bytes:
    """Return a body in MessagePack.

    Raises:
        BadArgument: it can't be encoded, or is too long.
    """
    try:
        encoded = encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadArgument(
            f"a message can't hold this {type(body).__name__} ({error}); plain data can be sent: "
            "numbers, text, bytes, lists, dicts, dataclasses, msgspec structs."
        ) from None
    if len(encoded) > MOST_BODY_BYTES:
        raise BadArgument(
            f"a message of {len(encoded):,} bytes; the most is {MOST_BODY_BYTES:,}. "
            "Leave what is larger in a file or in Redis, and send where."
        )
    return encoded


def frame(envelopes: list[bytes]) -> bytes:
    """Return a frame of encoded envelopes.

    >>> frame([encode(Hello(1))]).hex(" ")
    '00 00 00 08 dd 00 00 00 01 92 00 01'
    """
    body = b"".join(envelopes)
    return b"".join(
        ((len(body) + 5).to_bytes(4, "big"), b"\xdd", len(envelopes).to_bytes(4, "big"), body)
    )


def array(bodies: list[bytes]) -> Raw:
    """Return encoded bodies as one array."""
    return Raw(b"".join((b"\xdd", len(bodies).to_bytes(4, "big"), *bodies)))


@functools.lru_cache(maxsize=256)
def _head(topic: str) -> bytes:
    """Return all of a frame that is before its only body, after its length."""
    one = b"\xdd\0\0\0\1"
    return one + encode(Publish(topic, NOTHING))[:-1] + one


def lone(topic: str, body: bytes) -> bytes:
    """Return a frame of one publication of one body.

    >>> lone("t", encode(1)) == frame([encode(Publish("t", array([encode(1)])))])
    True
    """
    head = _head(topic)
    return (len(head) + len(body)).to_bytes(4, "big") + head + body


def count(bodies: Raw) -> int:
    """Return how many bodies an array has, of which the decoder has seen that it is whole.

    Raises:
        BadFrame: it is no array.
    """
    view = memoryview(bodies)
    kind = view[0]
    if kind == 0xDD:  # noqa: PLR2004 - MessagePack's array 32, which our clients write
        return int.from_bytes(view[1:5], "big")
    if kind == 0xDC:  # noqa: PLR2004 - array 16
        return int.from_bytes(view[1:3], "big")
    if 0x90 <= kind <= 0x9F:  # noqa: PLR2004 - fixarray
        return kind & 0x0F
    raise BadFrame("the bodies of a publication are not an array.")


_Envelopes = Annotated[list[ToHub], Meta(max_length=MOST_AT_ONCE)]
_to_hub = msgpack.Decoder(_Envelopes)
_to_bot = msgpack.Decoder(list[ToBot])


def decode_to_hub(payload: bytes | memoryview) -> list[ToHub]:
    """Return the envelopes of a frame from a bot. Their bodies are views of ``payload``.

    Raises:
        BadFrame: it is none.
    """
    try:
        return _to_hub.decode(payload)
    except (DecodeError, ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"not a frame: {error}") from None


def decode_to_bot(payload: bytes | memoryview) -> list[ToBot]:
    """Return the envelopes of a frame from the hub; see :func:`decode_to_hub`."""
    try:
        return _to_bot.decode(payload)
    except (DecodeError, ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"not a frame: {error}") from None
