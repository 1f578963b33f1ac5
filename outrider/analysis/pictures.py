"""Chooses what of a report is worth a picture, and gathers its data: rows, bands, forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from outrider.analysis import words
from outrider.analysis.plot import Mark, Picture
from outrider.analysis.readings import Readings
from outrider.samples import is_counter
from outrider.store import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from outrider.analysis.outlook import Ahead, Outlook
    from outrider.analysis.state import HostState
    from outrider.samples import Window

    Floats = NDArray[np.float64]

MOST = 8


def choose(
    report: dict[str, Any],
    found: Sequence[dict[str, Any]],
    *,
    window: Window,
    state: HostState,
    outlook: Outlook | None,
) -> list[Picture]:
    """Return the pictures of a report: anomalies first, then limits ahead, then what changed.

    ``window`` holds the rows that are shown, ``found`` what was found in their time. A series has
    one picture, whatever is marked in it.
    """
    ahead = {each.series: each for each in outlook.forecasts} if outlook else {}
    heading = [each["series"] for each in report.get("limits", ()) if each["eta_s"] is not None]
    wanted = [
        *(each["series"] for each in report["anomalies"]),
        *heading,
        *(each["series"] for each in report["off_normal"]),
        *(each["series"] for each in found if "series" in each),
        *ahead,
    ]
    bot = report.get("bot")
    mine = [name for name in dict.fromkeys(wanted) if not bot or name.startswith(f"bot.{bot}.")]
    known = set(window.names)
    return [
        _picture(name, report, found, window=window, state=state, ahead=ahead.get(name))
        for name in [name for name in mine if name in known][:MOST]
    ]


def _picture(
    series: str,
    report: dict[str, Any],
    found: Sequence[dict[str, Any]],
    *,
    window: Window,
    state: HostState,
    ahead: Ahead | None,
) -> Picture:
    times, values = judged(window, series)
    low, high = _band(state, series, times)
    marks = [
        Mark(each["at_s"], each["kind"], _label(each))
        for each in found
        if each.get("series") == series and each["kind"] in ("anomaly", "change")
    ]
    title = next(
        (each["words"] for name in ("anomalies", "off_normal") for each in report[name]
         if each["series"] == series),
        words.subject(series),
    )  # fmt: skip
    # A forecast that reaches far would leave the past no room.
    span_s = float(times[-1] - times[0]) if len(times) else 0.0
    steps = (
        []
        if ahead is None
        else [n for n, at in enumerate(ahead.times_s) if at <= times[-1] + span_s]
    )
    paths = (ahead.times_s, ahead.mean, ahead.lower, ahead.upper) if ahead else ([],) * 4
    ahead_s, mean, ahead_low, ahead_high = ([path[n] for n in steps] for path in paths)
    return Picture(
        series, title, times.tolist(), values.tolist(), low, high,
        ahead_s, mean, ahead_low, ahead_high,
        limit=ahead.limit if ahead else None,
        marks=sorted(marks, key=lambda mark: mark.at_s)[-MOST:],
    )  # fmt: skip


def judged(window: Window, series: str) -> tuple[Floats, Floats]:
    """Return ``(times_s, values)`` of a series as it is judged: a counter as its rate."""
    times, raw = rows.series_of(window, series)
    if not is_counter(series):
        return times, raw
    readings, flags = Readings(1), np.array([True])
    rates = [
        float(readings.update(at_s, [value], flags)[0])
        for at_s, value in zip(times.tolist(), raw.tolist(), strict=True)
    ]
    return times, np.array(rates, dtype=np.float64)


def _band(state: HostState, series: str, times: Floats) -> tuple[list[float], list[float]]:
    """Return where the series is expected at these times, as it is known now."""
    if series not in state.names or not len(times):
        return [], []
    place = state.names.index(series)
    # The band moves by the hour: a point a few minutes is enough, straight lines between.
    some = np.unique(np.append(times[:: max(1, len(times) // 72)], times[-1]))
    ends = [state.normal.expected(at_s) for at_s in some.tolist()]
    low = np.array([float(end[0][place]) for end in ends])
    high = np.array([float(end[2][place]) for end in ends])
    if not np.isfinite(low).all():
        return [], []
    return np.interp(times, some, low).tolist(), np.interp(times, some, high).tolist()


def _label(found: dict[str, Any]) -> str:
    if found["kind"] == "anomaly":
        return f"{found['component'].replace('_', ' ')}"
    if found.get("of") == "slope":
        return f"{words.value(found['series'], found['after'] - found['before'])} an hour more"
    before, after = (words.value(found["series"], found[key]) for key in ("before", "after"))
    return f"{before} to {after}"
