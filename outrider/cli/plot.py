"""Series as text: sparklines, a chart with its min/max band, numbers with their unit."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from outrider import units
from outrider.samples import is_counter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from outrider.store.query import Band

_LEVELS = "▁▂▃▄▅▆▇█"
_MEAN, _BAND, _GAP = "•", "░", " "


def sparkline(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Return numbers as a line of bars, from the least to the greatest; a gap where there is none.

    >>> sparkline([0.0, 1.0, float("nan"), 7.0])
    '▁▂ █'
    """
    numbers = np.asarray(values, dtype=float)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return _GAP * len(numbers)
    low, high = float(finite.min()), float(finite.max())
    return "".join(_GAP if math.isnan(n) else _LEVELS[_step(n, low, high, 8)] for n in numbers)


def chart(band: Band, start_s: float, end_s: float, *, width: int, height: int) -> list[str]:
    """Return lines of a chart: dots for the mean, shade from low to high. Without labels."""
    finite = np.concatenate([band.low, band.high, band.mean])
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return []
    least, most = float(finite.min()), float(finite.max())
    lines = [[_GAP] * width for _ in range(height)]
    place = ((band.times_s - start_s) / (end_s - start_s) * width).astype(int).clip(0, width - 1)
    for column in range(width):
        here = place == column
        if not here.any():
            continue
        low, high = float(band.low[here].min()), float(band.high[here].max())
        mean = band.mean[here]
        bottom, top = _step(low, least, most, height), _step(high, least, most, height)
        for row in range(bottom, top + 1):
            lines[row][column] = _BAND
        if np.isfinite(mean).any():
            middle = float(mean[np.isfinite(mean)].mean())
            lines[_step(middle, least, most, height)][column] = _MEAN
    return ["".join(line) for line in reversed(lines)]


def labelled(lines: list[str], least: str, most: str) -> list[str]:
    """Return a chart's lines with its greatest value before the first, its least before the last.

    >>> labelled(["ab", "cd"], "0", "10")
    ['10 ┤ab', ' 0 ┤cd']
    """
    wide = max(len(least), len(most))
    marks = [most, *[""] * (len(lines) - 2), least] if len(lines) > 1 else [most]
    return [f"{mark:>{wide}} ┤{line}" for mark, line in zip(marks, lines, strict=True)]


def number(series: str, value: float, *, rate: bool = False) -> str:
    """Return a value with the unit that its series' name ends in.

    >>> number("a_bytes", 2048.0), number("a_ratio", 0.5), number("a_total", 1500.0)
    ('2.0 KiB', '50.0%', '1,500')
    >>> number("a_total", 0.5, rate=True), number("a.p95_s", 0.0123)
    ('0.5/s', '12.3 ms')
    """
    if not math.isfinite(value):
        return str(value)
    suffix = "/s" if rate else ""
    name = series.removesuffix("_total") if is_counter(series) else series
    if name.endswith("_bytes"):
        return units.show_bytes(value) + suffix
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    if name.endswith("_s") and not rate:
        return duration(value)
    return _plain(value) + suffix


def duration(seconds: float) -> str:
    """Return a time with three digits, however short.

    >>> duration(0.0000123), duration(2.5), duration(90)
    ('12.3 µs', '2.5 s', '1m30s')
    """
    for unit, size in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if abs(seconds) < 1000 * size and (unit != "s" or abs(seconds) < 60):  # noqa: PLR2004
            return f"{seconds / size:.3g} {unit}"
    return units.show_duration(seconds)


def moment(at_s: float) -> str:
    """Return a time of this place, as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"  # noqa: PLR2004


def _step(value: float, low: float, high: float, steps: int) -> int:
    """Return which of ``steps`` equal parts of a range a value lies in."""
    if not math.isfinite(value):
        return steps - 1 if value > 0 else 0
    share = (value - low) / (high - low) if high > low else 0.0
    return min(int(share * steps), steps - 1)
