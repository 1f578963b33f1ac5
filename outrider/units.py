"""Sizes and durations as people write them: ``300MiB``, ``60s``, ``5/60s``."""

from __future__ import annotations

import math
import re

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|[kKMGT]i?B?)?\s*")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(text: str | int) -> int:
    """Return a size in bytes. ``k`` and ``kB`` count in thousands, ``KiB`` in 1024s.

    >>> parse_bytes("300MiB"), parse_bytes("2 GB"), parse_bytes(512)
    (314572800, 2000000000, 512)

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(str(text))
    if not match or not math.isfinite(float(match[1])):
        raise ValueError(f"{text!r} is not a size; write it like 300MiB or 2GB.")
    number, unit = float(match[1]), match[2] or "B"
    if unit == "B":
        return int(number)
    base = 1024 if "i" in unit else 1000
    return int(number * base ** _POWERS[unit[0]])


def parse_duration(text: str | float) -> float:
    """Return a duration in seconds.

    >>> parse_duration("5m"), parse_duration("250ms"), parse_duration(3)
    (300.0, 0.25, 3.0)

    Raises:
        ValueError: the text is not a duration.
    """
    match = _DURATION.fullmatch(str(text))
    if not match or not math.isfinite(float(match[1])):
        raise ValueError(f"{text!r} is not a duration; write it like 30s, 5m or 1h.")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def parse_rate(text: str) -> tuple[int, float]:
    """Return ``(count, seconds)`` of a rate such as ``5/60s``.

    >>> parse_rate("5/60s")
    (5, 60.0)

    Raises:
        ValueError: the text is not a rate, or its window is empty.
    """
    count, slash, window = str(text).partition("/")
    if not slash or not count.strip().isdigit():
        raise ValueError(f"{text!r} is not a rate; write it like 5/60s.")
    seconds = parse_duration(window)
    if seconds <= 0:
        raise ValueError(f"{text!r} has an empty window; write it like 5/60s.")
    return int(count), seconds


def show_bytes(size: float) -> str:
    """Return a size for people.

    >>> show_bytes(314572800), show_bytes(900)
    ('300.0 MiB', '900 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:  # noqa: PLR2004
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show_duration(seconds: float) -> str:
    """Return a duration for people.

    >>> show_duration(0.004), show_duration(75), show_duration(90000)
    ('4 ms', '1m15s', '1d1h')
    """
    if round(seconds * 1000) < 1000:  # noqa: PLR2004
        return f"{seconds * 1000:.0f} ms"
    whole_s = round(seconds)
    for size, unit, sub, lower in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole_s >= size:
            whole, rest = divmod(whole_s, size)
            return f"{whole}{unit}{rest // sub}{lower}"
    return f"{whole_s}s"
