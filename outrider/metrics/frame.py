"""What a bot says of itself, once a second, in one datagram.

A frame holds totals since the bot's start, not changes: a lost frame costs nothing, the next one
says it all. It is decoded into typed fields, so that a peer which sends nonsense is refused.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from outrider import samples
from outrider.samples import BOT_NAME

# A datagram must fit the socket's send buffer (208 KiB by default on Linux).
MOST_BYTES = 128 * 1024


class Frame(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Totals of one process.

    ``timings`` maps a name to ``(count, sum in seconds, longest in seconds since the last frame)``.
    """

    bot: Annotated[str, msgspec.Meta(pattern=rf"\A{BOT_NAME}\Z")]
    pid: int
    at_s: float
    ready: bool = False
    loop_lag_s: float | None = None
    counters: dict[str, float] = {}
    gauges: dict[str, float] = {}
    timings: dict[str, tuple[int, float, float]] = {}
    dropped: int = 0


_DECODER = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """Return a frame as bytes."""
    return msgspec.msgpack.encode(frame)


def decode(message: bytes) -> Frame:
    """Return the frame in a message.

    Raises:
        ValueError: the message is not a frame.
    """
    return _DECODER.decode(message)


def series(frame: Frame, *, now_s: float) -> dict[str, float]:
    """Return a frame as series of its bot.

    >>> series(Frame("canary", 1, 10.0, ready=True, counters={"updates": 3}), now_s=12.0)
    {'bot.canary.ready': 1.0, 'bot.canary.heartbeat_age_s': 2.0, 'bot.canary.updates_total': 3}
    """
    prefix = f"bot.{frame.bot}."
    values = {
        f"{prefix}ready": float(frame.ready),
        f"{prefix}heartbeat_age_s": max(0.0, now_s - frame.at_s),
    }
    if frame.loop_lag_s is not None:
        values[f"{prefix}loop_lag_s"] = frame.loop_lag_s
    if frame.dropped:
        values[f"{prefix}frames_dropped_total"] = float(frame.dropped)
    for name, number in frame.counters.items():
        values[prefix + samples.total(name)] = number
    for name, number in frame.gauges.items():
        values[prefix + name] = number
    for name, (count, total_s, longest_s) in frame.timings.items():
        values[f"{prefix}{name}.count"] = float(count)
        values[f"{prefix}{name}.sum_s"] = total_s
        values[f"{prefix}{name}.max_s"] = longest_s if math.isfinite(longest_s) else 0.0
    return values
