"""Times as options of commands: how long back, or a date."""

from __future__ import annotations

import math
from datetime import datetime

from outrider import units
from outrider.errors import BadArgument


def span(since: str, until: str, now_s: float) -> tuple[float, float]:
    """Return a range of times. Raises BadArgument when it is none, or is empty."""
    start_s, end_s = at("--since", since, now_s), at("--until", until, now_s)
    if start_s >= end_s:
        raise BadArgument(f"--since {since} is not before --until {until}.")
    return start_s, end_s


def at(option: str, text: str, now_s: float) -> float:
    """Return a time: ``now``, a duration back from now, seconds since 1970, or ISO 8601."""
    if text == "now":
        return now_s
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if number > 1e8 and math.isfinite(number):  # noqa: PLR2004 - 1973; less is no date but a slip
        return number
    if math.isnan(number):
        try:
            return now_s - units.parse_duration(text)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(text).timestamp()  # without a zone: this place's
        except (ValueError, OverflowError):
            pass
    raise BadArgument(
        f"{option} {text!r} is no time; write it like 36h, 7d, 2026-11-24T10:00 or 1790000000."
    )
