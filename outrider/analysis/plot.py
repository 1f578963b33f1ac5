"""Draws a series as shapes: its line, the band where it was expected, what marks it, its forecast.

One drawing serves two places: ``svg`` makes the text of an inline picture for a page in a file,
and the dashboard builds the same shapes as nodes, since no markup is made from outside text there.
Colours are classes, so that each page themes them, light and dark.
"""

from __future__ import annotations

import html
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from outrider import outside
from outrider.analysis import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 14, 14, 28
_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800)


class Mark(msgspec.Struct, frozen=True):
    """A moment on a picture: ``anomaly``, ``change`` or ``now``."""

    at_s: float
    kind: str
    words: str = ""


class Picture(msgspec.Struct, frozen=True):
    """What is drawn of one series. Lists of one group have one length; empty ones are left out.

    ``low`` and ``high`` are where it was expected, at ``times_s``; ``ahead_*`` is its forecast.
    """

    series: str
    title: str
    times_s: list[float]
    values: list[float]
    low: list[float] = []
    high: list[float] = []
    ahead_s: list[float] = []
    ahead: list[float] = []
    ahead_low: list[float] = []
    ahead_high: list[float] = []
    limit: float | None = None
    marks: list[Mark] = []


class Shape(msgspec.Struct, frozen=True):
    """One node of a drawing: an SVG element with a class, attributes and maybe a text."""

    tag: str
    kind: str
    attributes: dict[str, str]
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds and values to the picture's points."""

    first_s: float
    last_s: float
    low: float
    high: float

    def x(self, at_s: Floats | float) -> Any:
        return _LEFT + (at_s - self.first_s) / (self.last_s - self.first_s) * (
            WIDTH - _LEFT - _RIGHT
        )

    def y(self, value: Floats | float) -> Any:
        share = (np.clip(value, self.low, self.high) - self.low) / (self.high - self.low)
        return _TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM)


def draw(picture: Picture) -> list[Shape]:
    """Return the shapes of a picture, the hindmost first; none when nothing is known."""
    times, values = _arrays(picture.times_s, picture.values)
    ahead_s, ahead = _arrays(picture.ahead_s, picture.ahead)
    if not np.isfinite(values).any() and not np.isfinite(ahead).any():
        return []
    scale = _scale(picture, times, values)
    shapes = [*_grid(scale, picture.series)]
    if picture.low:
        shapes.append(_area("band", scale, times, np.array(picture.low), np.array(picture.high)))
    if picture.ahead_low:
        ends = np.array(picture.ahead_low), np.array(picture.ahead_high)
        shapes.append(_area("interval", scale, ahead_s, *ends))
    if picture.limit is not None and picture.limit <= scale.high:
        shapes += _level(
            scale, picture.limit, f"limit {words.value(picture.series, picture.limit)}"
        )
    thin_s, thin = _thinned(times, values)
    shapes.append(Shape("path", "line", {"d": _path(scale, thin_s, thin)}))
    if len(ahead):
        shapes.append(Shape("path", "ahead", {"d": _path(scale, ahead_s, ahead)}))
    for mark in picture.marks:
        shapes += _mark(scale, mark)
    return shapes


def svg(picture: Picture) -> str:
    """Return a picture as the text of an ``<svg>`` element; everything from outside is escaped."""
    nodes = "".join(_node(shape) for shape in draw(picture))
    label = html.escape(outside.clean(picture.title))
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{nodes}</svg>"
    )


def _node(shape: Shape) -> str:
    given = "".join(f' {name}="{html.escape(value)}"' for name, value in shape.attributes.items())
    return (
        f'<{shape.tag} class="{html.escape(shape.kind)}"{given}>'
        f"{html.escape(outside.clean(shape.text))}</{shape.tag}>"
    )


def _arrays(times_s: Sequence[float], values: Sequence[float]) -> tuple[Floats, Floats]:
    found = np.array(values, dtype=np.float64)
    return np.array(times_s, dtype=np.float64), np.where(np.isfinite(found), found, np.nan)


def _scale(picture: Picture, times: Floats, values: Floats) -> _Scale:
    every = np.concatenate([
        values, np.array(picture.ahead, dtype=np.float64),
        _near(picture.low, values), _near(picture.high, values),
        _near(picture.ahead_low, values), _near(picture.ahead_high, values),
    ])  # fmt: skip
    every = every[np.isfinite(every)]
    low, high = float(every.min()), float(every.max())
    if picture.limit is not None and low <= picture.limit <= high + 1.5 * (high - low):
        high = max(high, picture.limit)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    floor = 0.0 if 0 <= low < 0.5 * high else low - room
    ends = [
        float(each[at])
        for each in (times, np.array(picture.ahead_s))
        if len(each)
        for at in (0, -1)
    ]
    return _Scale(min(ends), max(*ends, min(ends) + 1.0), floor, high + room)


def _near(ends: Sequence[float], values: Floats) -> Floats:
    """Leave out the ends of a band that would squeeze the line into a streak."""
    found = np.array(ends, dtype=np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        return found
    reach = 3 * max(float(np.ptp(known)), 0.1 * float(np.abs(known).max()))
    near: Floats = found[(found >= known.min() - reach) & (found <= known.max() + reach)]
    return near


def _grid(scale: _Scale, series: str) -> Iterable[Shape]:
    for value in _ticks(scale.low, scale.high, is_bytes="_bytes" in series):
        y = f"{scale.y(value):.1f}"
        yield Shape("line", "grid", {"x1": str(_LEFT), "x2": str(WIDTH - _RIGHT), "y1": y, "y2": y})
        place = {"x": str(_LEFT - 8), "y": f"{scale.y(value) + 4:.1f}", "text-anchor": "end"}
        yield Shape("text", "tick", place, words.value(series, value))
    span_s = scale.last_s - scale.first_s
    step_s = next((step for step in _STEPS_S if span_s / step <= 6), _STEPS_S[-1])  # noqa: PLR2004
    offset_s = time.localtime(scale.first_s).tm_gmtoff
    at_s = math.ceil((scale.first_s + offset_s) / step_s) * step_s - offset_s
    form = "%d %b" if step_s >= 86_400 else "%H:%M"  # noqa: PLR2004 - a day
    while at_s <= scale.last_s and span_s / step_s < 100:  # noqa: PLR2004 - years at a week each
        x = float(scale.x(at_s))
        if _LEFT + 10 < x < WIDTH - _RIGHT - 10:
            place = {"x": f"{x:.1f}", "y": str(HEIGHT - 8), "text-anchor": "middle"}
            yield Shape("text", "tick", place, time.strftime(form, time.localtime(at_s)))
        at_s += step_s


def _ticks(low: float, high: float, *, is_bytes: bool) -> list[float]:
    """Return three to five round values within a range; bytes are round in KiB, MiB and so on."""
    most = max(abs(low), abs(high))
    if is_bytes and most >= 1024:  # noqa: PLR2004 - a KiB
        unit = 1024.0 ** min(4, int(math.log2(most) // 10))
        return [unit * each for each in _ticks(low / unit, high / unit, is_bytes=False)]
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * each for each in (1, 2, 2.5, 5, 10) if size * each >= rough)
    first = math.ceil(low / step)
    return [step * number for number in range(first, first + 7) if step * number <= high]


def _area(kind: str, scale: _Scale, times: Floats, low: Floats, high: Floats) -> Shape:
    keep = np.isfinite(low) & np.isfinite(high)
    times, low, high = times[keep], low[keep], high[keep]
    if len(times) > WIDTH:
        chosen = np.unique(np.linspace(0, len(times) - 1, WIDTH // 2).astype(np.int64))
        times, low, high = times[chosen], low[chosen], high[chosen]
    around_s, around = np.concatenate([times, times[::-1]]), np.concatenate([high, low[::-1]])
    path = _path(scale, around_s, around)
    return Shape("path", kind, {"d": f"{path}Z" if path else ""})


def _level(scale: _Scale, value: float, text: str) -> list[Shape]:
    y = float(scale.y(value))
    ends = {"x1": str(_LEFT), "x2": str(WIDTH - _RIGHT), "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    place = {"x": str(WIDTH - _RIGHT - 4), "y": f"{y + 13:.1f}", "text-anchor": "end"}
    return [Shape("line", "limit", ends), Shape("text", "limit-text", place, text)]


def _mark(scale: _Scale, mark: Mark) -> list[Shape]:
    if not scale.first_s <= mark.at_s <= scale.last_s:
        return []
    x = float(scale.x(mark.at_s))
    ends = {"x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": str(_TOP), "y2": str(HEIGHT - _BOTTOM)}
    shapes = [Shape("line", f"mark {mark.kind}", ends)]
    if mark.words:
        left = x > WIDTH * 0.7
        place = {
            "x": f"{x - 5 if left else x + 5:.1f}",
            "y": str(_TOP + (22 if mark.kind == "change" else 9)),
            "text-anchor": "end" if left else "start",
        }
        shapes.append(Shape("text", f"mark-text {mark.kind}", place, mark.words))
    return shapes


def _thinned(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return at most two points a pixel, the least and the greatest, so that no spike is lost."""
    if len(times) <= WIDTH:
        return times, values
    edges = np.linspace(0, len(times), WIDTH // 2 + 1).astype(np.int64)
    chosen = []
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[start:end]
        if np.isfinite(part).any():
            chosen += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
        elif end > start:
            chosen.append(start)
    places = np.array(chosen, dtype=np.int64)
    return times[places], values[places]


def _path(scale: _Scale, times: Floats, values: Floats) -> str:
    """Return a line through points; it is broken where values or much time are missing."""
    if not len(times):
        return ""
    usual_s = float(np.median(np.abs(np.diff(times)))) if len(times) > 1 else 0.0
    drawn, pen_up, before_s = [], True, float(times[0])
    for at_s, value in zip(times.tolist(), values.tolist(), strict=True):
        if not math.isfinite(value):
            pen_up = True
            continue
        if abs(at_s - before_s) > max(8 * usual_s, 1.0) * 2:
            pen_up = True
        drawn.append(f"{'M' if pen_up else 'L'}{scale.x(at_s):.1f} {scale.y(value):.1f}")
        pen_up, before_s = False, at_s
    return "".join(drawn)
