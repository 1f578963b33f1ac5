"""What is normal for every series of a host: learned a tick at a time, in constant memory.

Normal is a level that follows slowly, plus what the hour and the weekday add where they explain
enough, plus the range within which 95 % of values lie around that::

    center = level + day[hour] + week[weekday]          (UTC; hours are joined by straight lines)
    level += max(1/n, 1 - exp(-dt / TAU_S)) * clip(value - center, +-CLIP * spread)
    day[hour] follows the hour's mean of (value - slow - week) once the hour is over, so that it
    is judged by hours that it has not seen; week[weekday] likewise, by the day. Both have mean 0;
    slow is a level that takes a week, so that it follows neither.

*Season*: the hour counts when, over JUDGED_S of such unseen hours, the mean error with it is below
EXPLAINS of that without; hour and weekday together likewise, over a week of them.
*Range*: the 2.5 % and 97.5 % quantiles of what is left, by stochastic approximation (Robbins and
Monro 1951): ``q += step * spread * (p - [rest < q])``.
*Robust*: nothing moves a level by more than CLIP spreads at once (Huber 1964), and the first level
is the median of EARLY values. An hour at a hundred spreads moves the level by a tenth of a spread.
A shift that lasts and that nobody announced is normal after some two days.
*Annotated*: after ``annotate`` (a start, a deploy) the next EARLY values are compared with what was
normal; if their median is off by more than MOVED spreads a new baseline begins there, else the old
one goes on and follows faster for a while.

Constants: a day for the level, since slower lags behind growth, and faster would follow the season
itself; 95 % because a range that people read as "usual" is left now and then. Measured on white,
AR(1) 0.9, skewed and daily series over ten days at 10 s: 93 to 97 % of values lie within the range
(tests/unit/analysis/test_baseline_bank.py); on 31 series of the Numenta benchmark 95.1 % of those
after their first third (93 to 98 % by kind of series). Needs 0.8 KB a series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.analysis.readings import MOST
from outrider.analysis.table import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

HOUR_S, DAY_S = 3600.0, 86_400.0
HOURS, DAYS = 24, 7
TAU_S, SLOW_S = DAY_S, 7 * DAY_S
EARLY = 15
CLIP = 3.0
MOVED = 3.0
FRESH = 60
EXPLAINS = 0.8
JUDGED_S = 18 * HOUR_S
# A mean over so many hours (days) of one kind; after that older ones fade.
MOST_VISITS = 4
LOW, HIGH = 0.025, 0.975
QUANTILE_S, FASTEST = 3000.0, 0.02
# Deviations of a normal distribution: from the mean absolute one, and from the median one.
_OF_MEAN, _OF_MEDIAN, _OF_95 = 1.2533, 1.4826, 1.96
# A gap counts as at most an hour; the first sample as ten seconds.
_LONGEST_S, _FIRST_S = HOUR_S, 10.0
# Less than this share of the level is no spread: it is the last digits of a number.
_LEAST = 0.002

_COLUMNS = {
    "count": (0, 0.0), "since_s": (0, np.nan), "seen_s": (0, np.nan), "least": (0, np.inf),
    "level": (0, np.nan), "slow": (0, np.nan),
    "filled": (0, 0.0), "early": (EARLY, 0.0), "trial": (0, 0.0),
    "low": (0, 0.0), "high": (0, 0.0), "mode": (0, 0.0),
    "plain_off": (0, 0.0), "same_off": (0, 0.0), "day_off": (0, 0.0), "week_off": (0, 0.0),
    "judged_s": (0, 0.0), "judged_week_s": (0, 0.0),
    "hour_sum": (0, 0.0), "hour_n": (0, 0.0), "day_sum": (0, 0.0), "day_n": (0, 0.0),
    "day": (HOURS, 0.0), "day_visits": (HOURS, 0.0),
    "week": (DAYS, 0.0), "week_visits": (DAYS, 0.0),
}  # fmt: skip


class BaselineBank:
    """Learn what is normal for ``count`` series that share their ticks.

    >>> bank = BaselineBank(1)
    >>> for n in range(200):
    ...     _ = bank.update(10.0 * n, [140.0 + n % 15])
    >>> low, center, high = bank.expected(2000.0)
    >>> bool(135 < low[0] < 140 < center[0] < 150 < high[0] < 160)
    True
    """

    kind = "baseline"

    def __init__(self, count: int = 0) -> None:
        self.table = Table(_COLUMNS, count)
        self.at_s = -np.inf

    def update(self, at_s: float, values: ArrayLike) -> Floats:
        """Learn from a tick, and return how far each value is from normal, shape ``[count]``.

        0 is the center, 1 and -1 are the ends of the usual range; NaN where nothing is known yet.
        A value that is missing, or no number, is not learned from. A tick that is not newer than
        the last is not learned from either.
        """
        seen = np.asarray(values, dtype=np.float64)
        if not at_s > self.at_s:
            return np.full(self.table.count, np.nan)
        first = not np.isfinite(self.at_s)
        elapsed_s = _FIRST_S if first else min(at_s - self.at_s, _LONGEST_S)
        if not first:
            self._close(self.at_s, at_s)
        self.at_s = at_s
        known = np.abs(seen) < MOST
        held = self.table
        held["seen_s"][known] = at_s
        held["least"][known] = np.minimum(held["least"][known], seen[known])
        scores = self.scores(at_s, seen)
        # A trial needs all its values from after the event; others learn at once.
        self._learn(at_s, elapsed_s, seen, known & (held["filled"] >= EARLY))
        self._begin(at_s, seen, known & (held["filled"] < EARLY))
        return scores

    def scores(self, at_s: float, values: Floats) -> Floats:
        """Return how far values are from normal; learns nothing."""
        low, center, high = self.expected(at_s)
        off = np.where(np.abs(values) < MOST, values, np.nan) - center
        reach = np.where(off >= 0, high - center, center - low)
        with np.errstate(invalid="ignore"):
            return off / np.maximum(reach, self._spread())

    def annotate(self, places: Bools) -> None:
        """Tell that something began anew for these series: a start, a deploy."""
        ready = places & (self.table["count"] > 0)
        self.table["filled"][places] = 0.0
        self.table["trial"][ready] = 1.0

    def expected(self, at_s: float) -> tuple[Floats, Floats, Floats]:
        """Return ``(low, center, high)`` of what is usual at a time, shape ``[count]`` each."""
        center = self.table["level"] + self.season(at_s)
        low, high = center + self.table["low"], center + self.table["high"]
        # What was never negative is not expected to be.
        return np.where(self.table["least"] >= 0, np.maximum(low, 0.0), low), center, high

    def season(self, at_s: float) -> Floats:
        """Return what hour and weekday add at a time, where they count; shape ``[count]``."""
        day, _, week, _ = self._season(at_s)
        mode = self.table["mode"]
        return np.where(mode >= 1, day, 0.0) + np.where(mode >= 2, week, 0.0)  # noqa: PLR2004

    def dumps(self) -> bytes:
        """Return the state as bytes."""
        return self.table.dumps(self.kind, self.at_s)

    def loads(self, packed: bytes) -> None:
        """Take the state of a ``dumps``. Raises StoreError, and changes nothing, if damaged."""
        self.at_s = self.table.loads(self.kind, packed)

    def _season(self, at_s: float) -> tuple[Floats, Bools, Floats, Bools]:
        """Return what the hour adds and whether it was seen before, and the same of the weekday."""
        held, first, second, share = self.table, *_hours(at_s)
        day = (1 - share) * held["day"][:, first] + share * held["day"][:, second]
        visits = np.minimum(held["day_visits"][:, first], held["day_visits"][:, second])
        weekday = _weekday(at_s)
        return day, visits >= 1, held["week"][:, weekday], held["week_visits"][:, weekday] >= 1

    def _spread(self) -> Floats:
        """Return the deviation of what is left when level and season are taken off."""
        held = self.table
        chosen = np.choose(
            held["mode"].astype(np.int64), [held["plain_off"], held["day_off"], held["week_off"]]
        )
        return np.maximum(_OF_MEAN * chosen, _LEAST * np.abs(held["level"]) + 1e-12)

    def _begin(self, at_s: float, seen: Floats, which: Bools) -> None:
        """Gather first values; those that have enough of them get, or confirm, their level."""
        held = self.table
        places = np.flatnonzero(which)
        if not len(places):
            return
        season = self.season(at_s)
        held["early"][places, held["filled"][places].astype(np.int64)] = (seen - season)[places]
        held["filled"][places] += 1
        done = places[held["filled"][places] >= EARLY]
        if not len(done):
            return
        level = np.median(held["early"][done], axis=1)
        off = np.mean(np.abs(held["early"][done] - level[:, np.newaxis]), axis=1)
        usual = self._spread()[done]
        tried = held["trial"][done] > 0
        with np.errstate(invalid="ignore"):
            moved = np.abs(level - held["level"][done]) > MOVED * np.maximum(usual, _OF_MEAN * off)
        new = ~tried | moved
        begun, kept = done[new], done[~new]
        slow = held["slow"][begun] + level[new] - held["level"][begun]
        held["slow"][begun] = np.where(np.isfinite(slow), slow, level[new])
        held["level"][begun], held["since_s"][begun] = level[new], at_s
        held["count"][begun] = EARLY
        held["count"][kept] = np.minimum(held["count"][kept], FRESH)
        fresh = done[~tried]
        held["plain_off"][fresh] = off[~tried]
        self._reach(fresh)
        held["trial"][done], held["early"][done] = 0.0, 0.0

    def _reach(self, places: NDArray[np.int64]) -> None:
        """Set the range to that of a normal distribution, where it must be learned anew."""
        reach = _OF_95 * self._spread()[places]
        self.table["low"][places], self.table["high"][places] = -reach, reach

    def _learn(self, at_s: float, elapsed_s: float, seen: Floats, which: Bools) -> None:
        held = self.table
        day, day_known, week, week_known = self._season(at_s)
        slow_off = seen - held["slow"]
        plain_off, day_off, week_off = seen - held["level"], slow_off - day, slow_off - day - week
        rest = plain_off - self.season(at_s)
        spread, gain = self._spread(), 1 - np.exp(-elapsed_s / TAU_S)
        gains = np.maximum(1 / (held["count"] + 1), gain)
        self._follow(which, rest, spread, elapsed_s)
        clipped = np.clip(rest, -CLIP * spread, CLIP * spread)
        held["level"][which] += (gains * clipped)[which]
        held["count"][which] += 1
        wide = CLIP * np.maximum(spread, _OF_MEAN * held["plain_off"])
        gain_slow = np.maximum(1 / (held["count"] + 1), 1 - np.exp(-elapsed_s / SLOW_S))
        held["slow"][which] += (gain_slow * np.clip(slow_off, -wide, wide))[which]
        self._follow_off("plain_off", which, plain_off, gains, 2 * wide)
        # Each sample judges day and plain alike, only by hours that were closed before.
        judged = which & day_known
        shares = np.maximum(elapsed_s / (held["judged_s"] + elapsed_s), gain)
        self._follow_off("same_off", judged, plain_off, shares, 2 * wide)
        self._follow_off("day_off", judged, day_off, shares, 2 * wide)
        held["judged_s"][judged] += elapsed_s
        judged &= week_known
        shares = np.maximum(elapsed_s / (held["judged_week_s"] + elapsed_s), gain / DAYS)
        self._follow_off("week_off", judged, week_off, shares, 2 * wide)
        held["judged_week_s"][judged] += elapsed_s
        held["hour_sum"][which] += np.clip(slow_off - week, -wide, wide)[which]
        held["hour_n"][which] += 1
        held["day_sum"][which] += np.clip(day_off, -wide, wide)[which]
        held["day_n"][which] += 1

    def _follow(self, which: Bools, rest: Floats, spread: Floats, elapsed_s: float) -> None:
        """Move both ends of the range a little, up or down."""
        step = min(FASTEST, elapsed_s / QUANTILE_S) * spread
        for end, share in (("low", LOW), ("high", HIGH)):
            moved = self.table[end] + step * (share - (rest < self.table[end]))
            # While few values were seen the range is that of their spread.
            young = self.table["count"] < FRESH
            normal = _OF_95 * spread * (1 if end == "high" else -1)
            self.table[end][which] = np.where(young, normal, moved)[which]

    def _follow_off(
        self, name: str, which: Bools, off: Floats, gains: Floats, most: Floats
    ) -> None:
        column = self.table[name]
        moved = column + gains * (np.minimum(np.abs(off), most) - column)
        column[which] = moved[which]

    def _close(self, before_s: float, at_s: float) -> None:
        """Keep the means of an hour and of a day that are over, and see what explains enough."""
        if before_s // HOUR_S == at_s // HOUR_S:
            return
        hour = int(before_s // HOUR_S) % HOURS
        self._keep("day", hour, "hour_sum", "hour_n")
        if before_s // DAY_S != at_s // DAY_S:
            self._keep("week", _weekday(before_s), "day_sum", "day_n")
        held = self.table
        enough = EXPLAINS * held["same_off"] - 1e-12
        by_hour = (held["judged_s"] >= JUDGED_S) & (held["day_off"] < enough)
        by_day = held["judged_week_s"] >= DAYS * JUDGED_S
        by_day &= held["week_off"] < np.where(by_hour, EXPLAINS * held["day_off"], enough)
        mode = np.where(by_day, 2.0, np.where(by_hour, 1.0, 0.0))
        changed = np.flatnonzero(mode != held["mode"])
        held["mode"][changed] = mode[changed]
        held["level"][changed] = held["slow"][changed]
        self._reach(changed)

    def _keep(self, table: str, place: int, sums: str, counts: str) -> None:
        held = self.table
        some = held[counts] > 0
        visits = held[f"{table}_visits"][:, place]
        mean = held[sums] / np.maximum(held[counts], 1)
        moved = held[table][:, place]
        moved[some] += ((mean - moved) / np.minimum(visits + 1, MOST_VISITS))[some]
        visits[some] += 1
        # The level carries the mean: a table that took a part of it would hide a shift.
        whole = some & (held[f"{table}_visits"].min(axis=1) >= 1)
        held[table][whole] -= held[table][whole].mean(axis=1, keepdims=True)
        held[sums], held[counts] = np.zeros(held.count), np.zeros(held.count)


def _hours(at_s: float) -> tuple[int, int, float]:
    """Return the two hours between whose middles a time lies, and how near it is to the second."""
    place = at_s / HOUR_S - 0.5
    first = int(np.floor(place))
    return first % HOURS, (first + 1) % HOURS, place - first


def _weekday(at_s: float) -> int:
    """Return the day of the week, Monday first: 1970 began on a Thursday."""
    return (int(at_s // DAY_S) + 3) % DAYS
