"""How long things took since the last tick: the difference of two states of a bot's histograms.

A frame's histograms hold all since the bot's start. What is new in them, tick by tick, gives the
quantiles of the tick, its longest call and its worst event-loop lag. No frame could say those: nine
of ten come between two ticks and are not looked at.

A bot that began after the last tick began with nothing. Of another one that is seen for the first
time, because the collector is new, the tick can't be told from all before; it is skipped, once, and
counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outrider import sketch
from outrider.metrics import frame as frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.metrics.frame import Frame

    Sketches = Mapping[str, Mapping[int, int]]

QUANTILES = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99}
# A bot that was silent for longer is forgotten; when it speaks again, one tick is skipped.
FORGOTTEN_AFTER_S = 3600.0
_LAG = ""  # beside the names of timings, none of which is empty


@dataclass(slots=True)
class _Seen:
    """What a process had said at the last tick.

    A state is None where it can't be told; ``before`` is that of a timing not seen so far.
    """

    process: tuple[int, float]
    at_s: float
    before: Mapping[int, int] | None
    states: dict[str, Mapping[int, int] | None] = field(default_factory=dict)


class Timings:
    """Remembers the histograms of all bots at the last tick."""

    def __init__(self) -> None:
        self._bots: dict[str, _Seen] = {}
        self._tick_s = self._last_tick_s = math.inf
        self._sketches: dict[str, dict[int, int]] = {}
        self.skipped = 0

    def take(self, frame: Frame, now_s: float) -> dict[str, float]:
        """Return what a frame says of the time since the last one that was taken of its bot.

        ``.p50_s``, ``.p95_s`` and ``.p99_s`` are NaN when nothing was called: a page shows a gap
        and no rule holds, while the last value repeated would show calls that there were not. The
        series stay in the row, since rows whose names change are stored badly.
        """
        if now_s != self._tick_s:
            self._last_tick_s, self._tick_s = self._tick_s, now_s
            self._forget(now_s)
        seen = self._of(frame, now_s)
        values: dict[str, float] = {}
        for name, (count, _, longest_s) in frame.timings.items():
            series = f"bot.{frame.bot}.{name}"
            gained = self._gained(seen, name, frame.buckets.get(name, {}), count)
            found = sketch.quantiles(gained or {}, list(QUANTILES.values()))
            values |= {
                f"{series}.{q}": frames.rounded(each)
                for q, each in zip(QUANTILES, found, strict=True)
            }
            if gained is not None:
                values[f"{series}.max_s"] = frames.rounded(_longest(gained, longest_s))
            if gained:
                self._sketches[series] = sketch.merge(self._sketches.get(series, {}), gained)
        if frame.loop_lag_s is not None:
            gained = self._gained(seen, _LAG, frame.lag, 0)
            lag_s = max(frame.loop_lag_s, _longest(gained or {}, frame.loop_lag_s))
            values[f"bot.{frame.bot}.loop_lag_s"] = round(lag_s, 4)
        seen.before = {}
        return values

    def sketches(self) -> dict[str, dict[int, int]]:
        """Hand over what was new since this was last asked: series, without ending, to histogram.

        What could not be stored is to be given back, else it is lost.
        """
        new, self._sketches = self._sketches, {}
        return new

    def give_back(self, sketches: Sketches) -> None:
        """Add what was handed over and not stored to what is handed over next."""
        for series, buckets in sketches.items():
            self._sketches[series] = sketch.merge(self._sketches.get(series, {}), buckets)

    def _of(self, frame: Frame, now_s: float) -> _Seen:
        """Return what is known of a frame's process."""
        process = (frame.pid, frame.since_s)
        seen = self._bots.get(frame.bot)
        if seen is None or seen.process != process:
            began_since = frame.since_s >= self._last_tick_s
            seen = self._bots[frame.bot] = _Seen(process, now_s, {} if began_since else None)
        seen.at_s = now_s
        return seen

    def _gained(
        self, seen: _Seen, name: str, new: Mapping[int, int], count: int
    ) -> Mapping[int, int] | None:
        """Return what is new in a histogram, or None when that can't be told."""
        if count and not new:  # it did not fit into the frame
            seen.states.setdefault(name, None)
            return None
        old = seen.states.get(name, seen.before)
        seen.states[name] = new
        if old is not None:
            return sketch.difference(new, old)
        self.skipped += bool(new)
        return None

    def _forget(self, now_s: float) -> None:
        for bot in [b for b, seen in self._bots.items() if now_s - seen.at_s > FORGOTTEN_AFTER_S]:
            del self._bots[bot]
            for series in [s for s in self._sketches if s.startswith(f"bot.{bot}.")]:
                del self._sketches[series]


def _longest(gained: Mapping[int, int], told_s: float) -> float:
    """Return the longest of what is new: as told when that is the one, else within one per cent."""
    if not gained:
        return 0.0
    top = max(gained)
    return told_s if sketch.index(told_s) == top else sketch.value(top)
