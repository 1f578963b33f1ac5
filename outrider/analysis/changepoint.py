"""When a series changed, and by how much: steps of its level and bends of its slope, online.

Of each series the present segment is known as a line in constant memory. Each minute's mean is
compared with it, and two sums, one a side, tell when it has left the line (CUSUM, Page 1954)::

    z = clip((value - line) / (spread * inflation), +-CLIP)
    up = max(0, up + z - SLACK);   a change when up > ALARM, begun where up was last 0

*Spread* is the mean absolute error of the line, a minute ahead. *Inflation* is what errors that
resemble their neighbours cost: ``sqrt((1 + a) / (1 - a))`` with their lag-one autocorrelation a, so
that a walk is not taken for steps. *Clip*: no single minute makes a change; it takes three.
*Kind*: of what came since the beginning, a step explains ``sum(r)^2 / n`` and a bend
``sum(t r)^2 / sum(t^2)``: the likelihood ratio of each against no change, from five sums. The
larger one names the change, its size, and the line of the segment that begins there.
A line has a slope only when that is SURE standard errors from nought.

What explains itself by the hour is best taken off before (``BaselineBank.season``).

A change is kept when it is larger than LEAST_SPREADS spreads and LEAST_SHARE of the level; others
only begin a segment. Needs 0.4 KB a series, and no more with time.

*False alarms* a month, of 200 series over two weeks: white noise 0.0, AR(1) with 0.5 to 0.99 at
most 0.03, Student's t with 3 degrees 0.08, a walk 0.0, lognormal 0.9, Pareto (1.5) 0.4, rare
events (Poisson, 0.1 a minute) 4.6. *Delay*: a step of five spreads is seen after 4 minutes, of
three after 6, of two (88 % are seen) after 11; its time is right to the minute. A leak of ten
spreads an hour is seen after 18 minutes (97 %), one of three after 37 (39 %): slower ones are for
``exhaustion``. On 31 real series of the Numenta benchmark, with their anomalies, it tells of 0.14
changes a day.

Sources: Page, "Continuous inspection schemes", 1954; Basseville and Nikiforov, "Detection of abrupt
changes", 1993, chapters 2 (CUSUM, generalised likelihood ratio) and 7 (slopes); Zwiers and von
Storch, 1995 (autocorrelation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from outrider.analysis.readings import MOST
from outrider.analysis.table import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Places = NDArray[np.int64]

BLOCK_S = 60.0
CLIP, SLACK, ALARM = 4.0, 0.5, 12.0
LEAST_BLOCKS, LEAST_FOR_SLOPE = 12, 45
# A sum below this is noise; one minute of a jump brings more.
LEANS = 2.8
SURE = 4.0
LEAST_FOR_BEND = 6
LEAST_SPREADS, LEAST_SHARE = 1.5, 0.03
# Weights of one minute in the spread and in the autocorrelation.
# Standard errors of the line that are forgiven: of a young segment little is known.
DOUBT = 2.0
GAIN, GAIN_ALIKE = 0.02, 0.01
# A value beyond five spreads counts for five, until the like has come before within half a day.
FORGETS = 0.001
MOST_ALIKE = 0.97
HOUR_S = 3600.0
_OF_MEAN = 1.2533
# Less than this share of the level is no spread: it is the last digits of a number.
_LEAST = 0.002

_RUN = ("n", "t", "tt", "r", "tr")
_COLUMNS = {
    "block_sum": (0, 0.0), "block_n": (0, 0.0),
    "since_s": (0, np.nan), "base": (0, np.nan),
    "n": (0, 0.0), "t": (0, 0.0), "tt": (0, 0.0), "x": (0, 0.0), "tx": (0, 0.0),
    "xx": (0, 0.0), "dd": (0, 0.0), "before": (0, np.nan),
    "off": (0, 0.0), "seen": (0, 0.0), "bent": (0, 0.0), "limit": (0, 0.0), "last": (0, 0.0),
    "both": (0, 0.0), "square": (0, 0.0),
    "cusum": (2, 0.0), "from_s": (2, np.nan), "level": (2, 0.0),
    **{f"run_{name}": (2, 0.0) for name in _RUN},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """A series changed at ``at_s``, noticed at ``seen_s``.

    A *level* went from ``before`` to ``after``, in the series' unit; of a *slope* these are units
    per hour. ``spreads`` is the size in spreads of the series.
    """

    place: int
    at_s: float
    seen_s: float
    kind: Literal["level", "slope"]
    before: float
    after: float
    spreads: float


class ChangeBank:
    """Find changes in ``count`` series that share their ticks.

    >>> bank, found = ChangeBank(1), []
    >>> for minute in range(60):
    ...     found += bank.update(60.0 * minute, [5.0 + minute % 2 + (20 if minute >= 40 else 0)])
    >>> [(change.kind, change.at_s / 60, round(change.after - change.before)) for change in found]
    [('level', 40.0, 20)]
    """

    kind = "changes"

    def __init__(self, count: int = 0) -> None:
        self.table = Table(_COLUMNS, count)
        self.at_s = -np.inf

    def update(self, at_s: float, values: ArrayLike) -> list[Change]:
        """Take a tick, and return the changes that it makes certain.

        A value that is missing, or no number, says nothing. A tick that is not newer than the last
        changes nothing.
        """
        seen = np.asarray(values, dtype=np.float64)
        if not at_s > self.at_s:
            return []
        found = []
        if np.isfinite(self.at_s) and self.at_s // BLOCK_S != at_s // BLOCK_S:
            found = self._close(self.at_s // BLOCK_S * BLOCK_S)
        self.at_s = at_s
        known = np.abs(seen) < MOST
        self.table["block_sum"][known] += seen[known]
        self.table["block_n"][known] += 1
        return found

    def slopes(self) -> Floats:
        """Return the sure slope of each series' present segment, in units an hour; 0 when none."""
        return self._line()[1]

    def dumps(self) -> bytes:
        """Return the state as bytes."""
        return self.table.dumps(self.kind, self.at_s)

    def loads(self, packed: bytes) -> None:
        """Take the state of a ``dumps``. Raises StoreError, and changes nothing, if damaged."""
        self.at_s = self.table.loads(self.kind, packed)

    def _close(self, begin_s: float) -> list[Change]:
        """Judge the means of a minute that is over."""
        held = self.table
        which = held["block_n"] > 0
        mean = held["block_sum"] / np.maximum(held["block_n"], 1)
        held["block_sum"], held["block_n"] = np.zeros(held.count), np.zeros(held.count)
        new = which & ~np.isfinite(held["base"])
        held["base"][new], held["since_s"][new] = mean[new], begin_s
        at_h = (begin_s - held["since_s"]) / HOUR_S
        level, slope = self._line()
        slack = SLACK + DOUBT * self._line_error(at_h, slope)
        off = mean - (level + slope * at_h)
        spread = self._spread(level)
        ready = which & (held["n"] >= LEAST_BLOCKS)
        z = np.clip(np.nan_to_num(off / (spread * self._inflation())), -CLIP, CLIP)
        self._run(begin_s, ready, (z - slack, -z - slack), slack, off, level + slope * at_h)
        alarmed = np.flatnonzero(held["cusum"].max(axis=1) > ALARM)
        found = self._changes(alarmed, slope, spread, begin_s)
        calm = which.copy()
        # What may be a change already teaches nothing about what was before it.
        calm[ready & (held["cusum"].max(axis=1) > ALARM / 2)] = False
        calm[alarmed] = False
        self._learn(calm, at_h, mean, off)
        return found

    def _line(self) -> tuple[Floats, Floats]:
        """Return level at the segment's begin and slope an hour of each series' present line."""
        held = self.table
        n = np.maximum(held["n"], 1)
        spread_t = held["tt"] - held["t"] ** 2 / n
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            slope = (held["tx"] - held["t"] * held["x"] / n) / spread_t
            error = self._slope_error(slope, spread_t, n)
            # A segment that a bend began has a slope: the bend's alarm said so.
            sure = (np.abs(slope) > SURE * error) & (held["n"] >= LEAST_FOR_SLOPE)
            sure |= (held["bent"] > 0) & (held["n"] >= LEAST_BLOCKS)
        slope = np.where(sure & np.isfinite(slope), slope, 0.0)
        return held["base"] + (held["x"] - slope * held["t"]) / n, slope

    def _slope_error(self, slope: Floats, spread_t: Floats, n: Floats) -> Floats:
        """Return the standard error of a slope, from what is left beside its own line.

        Not from the errors a minute ahead: beside a flat line a slope would hide itself in them.
        What differences of neighbours say less than the whole is their likeness (von Neumann 1941).
        """
        held = self.table
        left = held["xx"] - held["x"] ** 2 / n - slope**2 * spread_t
        square = np.maximum(left / np.maximum(n - 2, 1), self._least(held["base"]) ** 2)
        alike = 1 - held["dd"] / np.maximum(n - 1, 1) / (2 * square)
        alike = np.clip(alike, 0.0, MOST_ALIKE)
        error: Floats = np.sqrt(square * (1 + alike) / (1 - alike) / spread_t)
        return error

    def _least(self, level: Floats) -> Floats:
        least: Floats = _LEAST * np.abs(np.nan_to_num(level)) + 1e-12
        return least

    def _line_error(self, at_h: Floats, slope: Floats) -> Floats:
        """Return the standard error of the line now, in inflated spreads."""
        held = self.table
        n = np.maximum(held["n"], 1)
        spread_t = np.maximum(held["tt"] - held["t"] ** 2 / n, 1e-12)
        far = np.where(slope != 0, (at_h - held["t"] / n) ** 2 / spread_t, 0.0)
        error: Floats = np.sqrt(1 / n + far)
        return error

    def _spread(self, level: Floats) -> Floats:
        # Of rare, large values (a queue seldom used) the mean error says too little.
        off = np.maximum(_OF_MEAN * self.table["off"], np.sqrt(self.table["square"]))
        return np.maximum(off, self._least(level))

    def _inflation(self) -> Floats:
        held = self.table
        square = np.maximum(held["square"], 1e-300)
        alike = np.clip(held["both"] / square, 0.0, MOST_ALIKE)
        inflation: Floats = np.sqrt((1 + alike) / (1 - alike))
        return inflation

    def _run(  # noqa: PLR0917 - columns of one minute, side by side
        self,
        begin_s: float,
        ready: Bools,
        steps: tuple[Floats, Floats],
        slack: Floats,
        off: Floats,
        line: Floats,
    ) -> None:
        """Add a minute to both sums, and to what is known of the time since each was nought."""
        held = self.table
        for side, step in enumerate(steps):
            cusum = held["cusum"][:, side]
            grown = np.maximum(0.0, cusum + step)
            begun = ready & (cusum == 0) & (grown > 0)
            # A jump begins where it is, and not where noise happened to lean its way.
            begun |= ready & (cusum < LEANS) & (step >= CLIP - slack)
            held["from_s"][begun, side], held["level"][begun, side] = begin_s, line[begun]
            for name in _RUN:
                held[f"run_{name}"][begun, side] = 0.0
            cusum[ready] = grown[ready]
            running = ready & (cusum > 0)
            # The middle of a minute: the first one has moved for half of it.
            hours = (begin_s - held["from_s"][running, side] + BLOCK_S / 2) / HOUR_S
            rest = off[running]
            for name, grows in zip(_RUN, (1.0, hours, hours**2, rest, hours * rest), strict=True):
                held[f"run_{name}"][running, side] += grows

    def _changes(
        self, alarmed: Places, slope: Floats, spread: Floats, begin_s: float
    ) -> list[Change]:
        """Name the changes, and begin the segments that follow them."""
        held, found = self.table, []
        for place in alarmed.tolist():
            side = int(held["cusum"][place].argmax())
            n, t, tt, r, tr = (float(held[f"run_{name}"][place, side]) for name in _RUN)
            size, bend = r / n, tr / tt
            bends = n >= LEAST_FOR_BEND and tr * bend > r * size
            at_s, level = float(held["from_s"][place, side]), float(held["level"][place, side])
            before = float(slope[place])
            reach = abs(bend) * float(begin_s + BLOCK_S - at_s) / HOUR_S if bends else abs(size)
            spreads = reach / float(spread[place])
            if spreads >= LEAST_SPREADS and reach >= LEAST_SHARE * abs(level):
                ends = (before, before + bend) if bends else (level, level + size)
                kind: Literal["level", "slope"] = "slope" if bends else "level"
                seen_s = begin_s + BLOCK_S
                found.append(Change(place, at_s, seen_s, kind, *ends, min(spreads, 1e6)))
            # The new line is that of the run: what was expected there, and what was beside it.
            begun = {"since_s": at_s, "base": level, "n": n, "t": t, "tt": tt}
            begun |= {"x": before * t + r, "tx": before * tt + tr, "bent": float(bends)}
            # As noisy as it was: what is beside the new line is not known yet.
            square = n * float(held["square"][place])
            spread_t = max(tt - t * t / n, 1e-12)
            fitted = begun["x"] ** 2 / n + (begun["tx"] - t * begun["x"] / n) ** 2 / spread_t
            alike = float(held["both"][place] / max(float(held["square"][place]), 1e-300))
            begun |= {"xx": fitted + square, "dd": 2 * square * (1 - min(max(alike, 0.0), 1.0))}
            begun |= {"before": math.nan}
            for name, value in begun.items():
                held[name][place] = value
            held["cusum"][place], held["last"][place] = 0.0, 0.0
        return found

    def _learn(self, which: Bools, at_h: Floats, mean: Floats, off: Floats) -> None:
        held = self.table
        first = which & (held["n"] == 0)
        late = held["seen"] >= LEAST_BLOCKS
        usual = np.maximum(_OF_MEAN * held["off"], self._least(held["base"]))
        limit = np.where(late, np.maximum(5 * usual, held["limit"]), np.inf)
        over = which & (np.abs(off) > limit)
        held["limit"][which] *= 1 - FORGETS
        held["limit"][over] = np.maximum(1.3 * limit, np.abs(off) / 4)[over]
        kept = np.where(late, np.clip(off, -CLIP * usual, CLIP * usual), off)
        value = mean - off + kept - held["base"]
        value[first] = 0.0
        hours = at_h + BLOCK_S / 2 / HOUR_S
        for name, grows in (
            ("n", np.ones(held.count)), ("t", hours), ("tt", hours**2),
            ("x", value), ("tx", hours * value), ("xx", value**2),
            ("dd", np.nan_to_num(value - held["before"]) ** 2),
        ):  # fmt: skip
            held[name][which] += grows[which]
        held["before"][which] = value[which]
        which = which & ~first
        gain = np.maximum(1 / (held["seen"] + 1), GAIN)
        size = np.minimum(np.abs(off), limit)
        held["off"][which] += (gain * (size - held["off"]))[which]
        gain = np.maximum(1 / (held["seen"] + 1), GAIN_ALIKE)
        held["both"][which] += (gain * (kept * held["last"] - held["both"]))[which]
        held["square"][which] += (gain * (size**2 - held["square"]))[which]
        held["last"][which] = kept[which]
        held["seen"][which] += 1
