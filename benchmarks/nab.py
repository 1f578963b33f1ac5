"""The rules of the Numenta Anomaly Benchmark in memory: a score in milliseconds, for any folder.

The same as ``checks/nab_score.py``, whose figures ``benchmarks.anomaly`` shows beside its own where
that lies beside the data. A window counts once, by its first detection, +1 at the left edge falling
to 0 at the right; a false alarm costs up to 0.11; a missed window 1. Scaled to 0 (silent) and 100
(perfect). Source: Lavin and Ahmad 2015.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FALSE_ALARM = 0.11
_UNSCORED, _OUTSIDE = -2, -1


@dataclass(frozen=True, slots=True)
class Series:
    """One labelled file. ``window`` is per row: its window's number, -1 outside, -2 unscored."""

    name: str
    times_s: list[float]
    values: list[float]
    windows: int
    window: Ints
    worth: Floats

    @property
    def category(self) -> str:
        """Return the folder that the file is in."""
        return self.name.split("/", maxsplit=1)[0]

    @property
    def days(self) -> float:
        """Return how long the file lasts."""
        return (self.times_s[-1] - self.times_s[0]) / 86400


def read(folder: Path) -> list[Series]:
    """Return all labelled files of a folder with ``windows.json`` and ``data/``."""
    labels = json.loads((folder / "windows.json").read_text())
    return [_read(folder, name, windows) for name, windows in labels.items()]


def totals(series: Series, alarms: NDArray[np.bool_]) -> tuple[float, int, int]:
    """Return what alarms are worth on one file, the windows they found, and the false alarms."""
    worth, seen, false = 0.0, set(), 0
    for at in np.flatnonzero(alarms & (series.window > _UNSCORED)):
        window = int(series.window[at])
        if window == _OUTSIDE:
            worth += FALSE_ALARM * series.worth[at]
            false += 1
        elif window not in seen:
            seen.add(window)
            worth += 1.0 + series.worth[at]
    return worth, len(seen), false


def standard(files: Sequence[Series], worth: float) -> float:
    """Scale what alarms were worth in total to the benchmark's 0..100."""
    return 100.0 * worth / (2 * sum(series.windows for series in files))


def best(files: Sequence[Series], scores: Sequence[Floats]) -> tuple[float, float]:
    """Return the best standard score of one threshold over all files, and that threshold."""
    rows: list[tuple[float, int, int, float]] = []
    for number, (series, score) in enumerate(zip(files, scores, strict=True)):
        rows.extend(
            (score[at], number, int(series.window[at]), series.worth[at])
            for at in np.flatnonzero((series.window > _UNSCORED) & (score > 0))
        )
    rows.sort(key=lambda row: -row[0])
    found: dict[tuple[int, int], float] = {}
    worth, most, threshold = 0.0, 0.0, 1.1
    for place, (at_score, number, window, value) in enumerate(rows):
        if window == _OUTSIDE:
            worth += FALSE_ALARM * value
        else:
            before = found.get((number, window))
            if before is None or value > before:
                worth += value + 1.0 if before is None else value - before
                found[number, window] = value
        is_last_of_tie = place + 1 == len(rows) or rows[place + 1][0] != at_score
        if is_last_of_tie and worth > most:
            most, threshold = worth, at_score
    return standard(files, most), threshold


def _read(folder: Path, name: str, windows: list[list[str]]) -> Series:
    with (folder / "data" / name).open(newline="") as file:
        rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    times = np.array([at for at, _ in rows])
    spans = []
    for left, right in windows:
        inside = np.flatnonzero((times >= _seconds(left)) & (times <= _seconds(right)))
        if len(inside):
            spans.append((int(inside[0]), int(inside[-1])))
    window = np.full(len(rows), _UNSCORED, dtype=np.int64)
    worth = np.zeros(len(rows))
    for at in range(math.floor(0.15 * min(len(rows), 5000)), len(rows)):
        window[at], worth[at] = _place(at, spans)
    return Series(name, times.tolist(), [x for _, x in rows], len(spans), window, worth)


def _place(at: int, spans: list[tuple[int, int]]) -> tuple[int, float]:
    for number, (left, right) in enumerate(spans):
        if left <= at <= right:
            return number, _sigmoid(-(right - at + 1) / (right - left + 1)) / _sigmoid(-1.0)
    before = [span for span in spans if span[1] < at]
    if not before:
        return _OUTSIDE, -1.0
    left, right = before[-1]
    return _OUTSIDE, _sigmoid((at - right) / (right - left) if right > left else 4.0)


def _sigmoid(position: float) -> float:
    return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
