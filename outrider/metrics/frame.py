"""What a bot says of itself, once a second, in one datagram.

A frame holds totals since the bot's start, not changes: a lost frame costs nothing, the next one
says it all. It is decoded into typed and bounded fields, so that a peer which sends nonsense is
refused; and it always fits a datagram: what does not is left out, and how much that was is told.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from outrider import samples, sketch
from outrider.samples import BOT_NAME

# A datagram must fit the socket's send buffer (208 KiB by default on Linux).
MOST_BYTES = 128 * 1024
# What is left out when a frame grows too large: the last of these first.
_PRIORITY = ("counters", "timings", "gauges", "buckets")
# Lengths of the four tables themselves, and of the number of what is left out.
_SLACK_BYTES = 64
_MOST_NAMES = 10_000
_MOST_NUMBER = 1e300

Name = Annotated[str, Meta(max_length=256)]
Total = Annotated[float, Meta(ge=0, le=_MOST_NUMBER)]
Count = Annotated[int, Meta(ge=0, le=sketch.MOST_COUNT)]
Bucket = Annotated[int, Meta(ge=sketch.ZERO_BUCKET, le=sketch.HIGHEST)]
Buckets = Annotated[dict[Bucket, Count], Meta(max_length=sketch.MOST_BUCKETS)]
_Few = Meta(max_length=_MOST_NAMES)


class Frame(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Totals of one process.

    ``timings`` maps a name to ``(count, sum in seconds, longest in seconds since the last frame)``,
    ``buckets`` the same names to their histograms since the bot's start (see ``outrider.sketch``),
    and ``lag`` is the histogram of the event loop's lateness. ``since_s`` is when the counting
    began (a pid may be another program's after an exec), and ``number`` counts the frames.
    """

    bot: Annotated[str, Meta(pattern=rf"\A{BOT_NAME}\Z")]
    pid: int
    at_s: Total
    ready: bool = False
    loop_lag_s: Total | None = None
    counters: Annotated[dict[Name, Total], _Few] = {}
    gauges: Annotated[dict[Name, float], _Few] = {}
    timings: Annotated[dict[Name, tuple[Count, Total, Total]], _Few] = {}
    dropped: Count = 0
    since_s: Total = 0.0
    number: Count = 0
    buckets: Annotated[dict[Name, Buckets], _Few] = {}
    lag: Buckets = {}
    refused: Count = 0
    left_out: Count = 0


_DECODER = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """Return a frame as bytes, ``MOST_BYTES`` at most.

    Of one that is larger, what does not fit is left out and counted in ``left_out``: histograms
    first, then gauges, timings and counters; of each kind those that were made last.
    """
    message = msgspec.msgpack.encode(frame)
    return message if len(message) <= MOST_BYTES else msgspec.msgpack.encode(_fitted(frame))


def _fitted(frame: Frame) -> Frame:
    tables: dict[str, dict[str, Any]] = {name: {} for name in _PRIORITY}
    room = MOST_BYTES - _SLACK_BYTES
    room -= len(msgspec.msgpack.encode(msgspec.structs.replace(frame, **tables)))
    left_out = 0
    for table, kept in tables.items():
        for name, held in getattr(frame, table).items():
            size = len(msgspec.msgpack.encode((name, held)))
            if size <= room:
                kept[name] = held
                room -= size
            else:
                left_out += 1
    return msgspec.structs.replace(frame, **tables, left_out=left_out)


def decode(message: bytes) -> Frame:
    """Return the frame in a message.

    Raises:
        ValueError: the message is not a frame.
    """
    return _DECODER.decode(message)


def from_plain(plain: dict[str, Any]) -> Frame:
    """Return the frame in plain data, as in a snapshot: JSON has no numbers as keys.

    Raises:
        ValueError: it is not a frame.
    """
    return msgspec.convert(plain, Frame, str_keys=True)


def series(frame: Frame, *, now_s: float) -> dict[str, float]:
    """Return a frame as series of its bot.

    Quantiles are of the time between two frames, and not here: see ``outrider.metrics.timings``.

    >>> series(Frame("canary", 1, 10.0, ready=True, counters={"updates": 3}), now_s=12.0)
    {'bot.canary.ready': 1.0, 'bot.canary.heartbeat_age_s': 2.0, 'bot.canary.updates_total': 3}
    """
    prefix = f"bot.{frame.bot}."
    values = {
        f"{prefix}ready": float(frame.ready),
        # More digits say nothing, as frames come once a second, and cost memory in every row.
        f"{prefix}heartbeat_age_s": round(max(0.0, now_s - frame.at_s), 1),
    }
    if frame.loop_lag_s is not None:
        values[f"{prefix}loop_lag_s"] = round(frame.loop_lag_s, 4)
    told = {"frames_dropped_total": frame.dropped, "refused_total": frame.refused}
    told["left_out"] = frame.left_out
    values |= {prefix + name: float(number) for name, number in told.items() if number}
    for name, number in frame.counters.items():
        values[prefix + samples.total(name)] = number
    for name, number in frame.gauges.items():
        values[prefix + name] = number
    for name, (count, total_s, longest_s) in frame.timings.items():
        values[f"{prefix}{name}.count"] = float(count)
        values[f"{prefix}{name}.sum_s"] = round(total_s, 6)
        values[f"{prefix}{name}.max_s"] = rounded(longest_s)
    return values


def rounded(seconds: float) -> float:
    """Return a duration in whole microseconds; below a millisecond, to four digits.

    >>> rounded(1.23456789), rounded(0.000123456789)
    (1.234568, 0.0001235)
    """
    return round(seconds, 6) if not 0 < seconds < 1e-3 else float(f"{seconds:.4g}")  # noqa: PLR2004
