"""When a series meets its limit, if it is heading there: a full disk, a leak, an empty pool.

Least squares over a window, which is what PromQL's predict_linear does, takes every rise for a
trend: the morning of a season, each tooth of a saw, a deploy. Here the series is first made plain:

1. *Season*: with two days or more, the part that repeats each day is taken off, and put back when
   the line is continued. A log that is rotated each night is flat then.
2. *Saw-tooth*: where a series falls back again and again, only its peaks are followed: the limit is
   met by a peak.
3. *Steps*: a jump that stands alone, such as a deploy's, moves the level and not the slope.
4. *Bend*: of all continuous lines with one bend the best is taken, if it is better than the
   straight one (F test); what counts is the part after the bend. A plateau has no slope there.
5. *Saturation*: where an exponential approach fits better than the line, its asymptote decides. A
   cache that warms up below the limit is silent.

A slope counts when it is ``SURE`` standard errors from nought, whereby errors that resemble their
neighbours count for less (lag-one autocorrelation), and when the limit is not farther ahead than
``AHEAD`` times what was seen since the bend. The interval is that of level and slope together.

Error rate: see docs/benchmarks.md, time_to_limit. Sources: Sen, "Estimates of the regression
coefficient based on Kendall's tau", 1968 (why medians); Hudson, "Fitting segmented curves whose
join points have to be estimated", 1966 (the bend); Zwiers and von Storch, 1995 (autocorrelation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

DAY_S = 86_400.0
LEAST_SAMPLES = 20
MOST_TIME_S, MOST = 1e12, 1e150  # beyond these arithmetic is no longer exact, or overflows
BLOCKS = 336  # half hours of a week: finer says no more and costs more
SURE = 4.0
AHEAD = 8.0
# A season must explain this share of what the trend leaves, or it is noise that was fitted.
SEASON_SHARE = 0.3
PHASES = 48
# A reset: a fall of this many times the usual step, and of this share of the range.
RESET_STEPS, RESET_RANGE = 6.0, 0.25
STEP_OUTLIER = 5.0
# More jumps than this share of the blocks are no deploys: it is how the series grows.
MOST_STEPS = 0.03
BENDS = 60
LEAST_AFTER_BEND = 8
BEND_F = 12.0
SATURATION_FIT = 0.7
WALKS = 0.8
TAUS = (0.1, 0.2, 0.35, 0.6, 1.0)
MOST_DEVIATIONS = 5.0
DUE = math.log(2)  # samples expected over the limit when it is as likely met as not


@dataclass(frozen=True, slots=True)
class TimeToLimit:
    """Seconds from the last sample until the limit is met; ``upper_s`` may be infinite."""

    eta_s: float
    lower_s: float
    upper_s: float


def time_to_limit(
    timestamps_s: ArrayLike, values: ArrayLike, *, limit: float, confidence: float = 0.9
) -> TimeToLimit | None:
    """Return when ``values`` meet ``limit``, from above or below; None when they do not head there.

    Values and times that are not finite, or absurd, are left out; times need no order and no even
    steps. Costs some three milliseconds for a week at five minutes. A series that is at its limit
    has nothing left: ``eta_s`` is 0.

    Raises:
        BadArgument: times and values differ in number, or ``limit`` or ``confidence`` is no such.

    >>> hours = np.arange(48) * 3600.0
    >>> found = time_to_limit(hours, 0.2 + 0.01 * np.arange(48), limit=1.0)
    >>> round(found.eta_s / 3600)
    33
    >>> time_to_limit(hours, [0.5] * 48, limit=1.0) is None
    True
    """
    times, known = _checked(timestamps_s, values, limit, confidence)
    if not len(times):
        return None
    rising = known[-1] <= limit
    known, bound = (known, limit) if rising else (-known, -limit)
    if known[-1] >= bound:
        return TimeToLimit(0.0, 0.0, 0.0)
    span_s = float(times[-1] - times[0])
    if len(times) < LEAST_SAMPLES or span_s <= 0:
        return None
    return _ahead(times, known, bound, span_s, confidence)


def _ahead(
    times: Floats, known: Floats, bound: float, span_s: float, confidence: float
) -> TimeToLimit | None:
    low, room = float(known.min()), float(bound - known.min())
    at, level = (times - times[-1]) / span_s, (known - low) / room  # limit 1, now 0, start -1
    season, level = _deseasoned(times, level, span_s)
    plain = _plain(at, level)
    heading = _heading(plain.at, plain.level)
    if heading is None:
        return None
    # What meets the limit first is not the line but a sample above it, or a peak.
    step, noise = heading.slope / len(times), plain.noise
    eta = _meets(
        heading.level + noise * _deviations(step, noise, DUE), heading.slope, season, span_s
    )
    if plain.tooth:
        since = -float(plain.at[-1])
        eta = math.ceil((eta + since) / plain.tooth - 1e-6) * plain.tooth - since
    if not 0 <= eta <= AHEAD * heading.span:
        return None
    z, outside = _z(confidence), (1 - confidence) / 2
    early = noise * _deviations(step, noise, -math.log1p(-outside)) + z * heading.level_error
    soon = _meets(heading.level + early, heading.slope + z * heading.slope_error, season, span_s)
    last = noise * _deviations(step, noise, -math.log(outside)) - z * heading.level_error
    late = _meets(heading.level + last, heading.slope - z * heading.slope_error, season, span_s)
    return TimeToLimit(eta * span_s, min(soon, eta) * span_s, max(late, eta) * span_s)


@dataclass(frozen=True, slots=True)
class _Heading:
    """A line at the present: ``level`` now, ``slope`` per span seen, from ``span`` of it."""

    level: float
    slope: float
    level_error: float
    slope_error: float
    span: float


@dataclass(frozen=True, slots=True)
class _Season:
    """What repeats each day, by phase; ``first`` is the phase of the present."""

    profile: Floats
    first: int


def _checked(
    timestamps_s: ArrayLike, values: ArrayLike, limit: float, confidence: float
) -> tuple[Floats, Floats]:
    times, known = np.asarray(timestamps_s, float), np.asarray(values, float)
    if times.ndim != 1 or times.shape != known.shape:
        raise BadArgument(
            f"times and values must be two sequences of one length, not {times.shape} and "
            f"{known.shape}."
        )
    if not math.isfinite(limit):
        raise BadArgument(f"limit = {limit!r} must be a finite number.")
    if not 0 < confidence < 1:
        raise BadArgument(f"confidence = {confidence!r} must lie between 0 and 1.")
    keep = (np.abs(times) < MOST_TIME_S) & (np.abs(known) < MOST)  # also drops what is NaN
    order = np.argsort(times[keep], kind="stable")
    return times[keep][order], known[keep][order]


def _deseasoned(times: Floats, level: Floats, span_s: float) -> tuple[_Season | None, Floats]:
    """Take off what repeats each day, when two days or more show that something does."""
    if span_s < 2 * DAY_S:
        return None, level
    phase = ((times - times[-1]) / DAY_S * PHASES).astype(np.int64) % PHASES
    counts = np.bincount(phase, minlength=PHASES)
    if counts.min() < 2:  # noqa: PLR2004 - each phase must have been seen on two days
        return None, level
    day = round(DAY_S * (len(times) - 1) / float(span_s)) or 1
    middle = _moving_mean(level, day)
    rest = level - middle
    whole = slice(day // 2, len(rest) - day // 2)
    if whole.stop - whole.start < day // 2:
        return None, level
    by_phase = [rest[whole][phase[whole] == number] for number in range(PHASES)]
    if any(not len(found) for found in by_phase):
        return None, level
    profile = np.array([np.median(found) for found in by_phase])
    left = rest[whole] - profile[phase[whole]]
    total = float(rest[whole].var())
    if not total or 1 - float(left.var()) / total < SEASON_SHARE:
        return None, level
    return _Season(profile, int(phase[-1])), level - profile[phase]


def _moving_mean(level: Floats, width: int) -> Floats:
    padded = np.concatenate(
        [np.full(width // 2, level[0]), level, np.full(width - width // 2, level[-1])]
    )
    sums = np.cumsum(np.concatenate([[0.0], padded]))
    mean: Floats = (sums[width:] - sums[:-width])[: len(level)] / width
    return mean


@dataclass(frozen=True, slots=True)
class _Plain:
    """A series without saw-tooth and lone steps: blocks, or the peaks of its teeth.

    ``noise`` is the deviation of single samples from it, ``tooth`` the usual distance of peaks.
    """

    at: Floats
    level: Floats
    noise: float = 0.0
    tooth: float | None = None


def _plain(at: Floats, level: Floats) -> _Plain:
    falls = _resets(level)
    if len(falls) >= LEAST_AFTER_BEND:
        starts = np.concatenate([[0], falls + 1])
        ends = np.append(falls + 1, len(level))
        peaks = np.array(
            [start + np.argmax(level[start:end]) for start, end in zip(starts, ends, strict=True)]
        )
        # The present tooth has not had its peak yet.
        tooth = float(np.median(np.diff(at[peaks[:-1]])))
        return _Plain(at[peaks[:-1]], _without_steps(level[peaks[:-1]]), tooth=tooth)
    width = max(1 / BLOCKS, 2 / len(at))
    number = np.floor(at / width + 1e-9).astype(np.int64)
    starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    sizes = np.diff(np.append(starts, len(at)))
    height = np.add.reduceat(level, starts) / sizes
    # Second differences have no slope, and six times the variance of single samples.
    within = np.median(np.abs(np.diff(level, 2))) / 0.6745 / math.sqrt(6)
    when = np.add.reduceat(at, starts) / sizes
    return _Plain(when, _without_steps(height), noise=float(within))


def _resets(level: Floats) -> NDArray[np.int64]:
    """Return the places before a fall that ends a tooth."""
    moves = np.diff(level)
    usual = float(np.median(np.abs(moves - np.median(moves))))
    reach = float(np.ptp(level - np.linspace(level[0], level[-1], len(level))))
    return np.flatnonzero(moves < -max(RESET_STEPS * usual, RESET_RANGE * reach))


def _without_steps(height: Floats) -> Floats:
    """Move what follows a lone jump back by its size."""
    moves = np.diff(height)
    if len(moves) < LEAST_SAMPLES:
        return height
    middle = float(np.median(moves))
    usual = 1.4826 * float(np.median(np.abs(moves - middle)))
    jumps = np.abs(moves - middle) > STEP_OUTLIER * max(usual, 1e-12)
    if not usual or jumps.sum() > MOST_STEPS * len(moves):
        return height
    shift = np.cumsum(np.where(jumps, moves - middle, 0.0))
    shifted = height.copy()
    shifted[1:] -= shift - shift[-1]  # the present stays where it is
    shifted[0] += shift[-1]
    return shifted


def _heading(at: Floats, level: Floats) -> _Heading | None:
    """Return the line that the series follows now; None when it has no sure slope."""
    if len(at) < LEAST_AFTER_BEND:
        return None
    bend = _bend(at, level)
    if _saturates(at, level):
        return None
    after = at >= bend
    when, height = at[after], level[after]
    count = len(when)
    middle = when.mean()
    spread = float(((when - middle) ** 2).sum())
    slope = float(((when - middle) * (height - height.mean())).sum()) / spread
    now = float(height.mean() - slope * middle)
    off = height - now - slope * when
    noise = math.sqrt(float(off @ off) / max(1, count - 2))
    alike = _alike(off)
    if alike > WALKS:  # a walk does not come back to its line
        now += float(off[-1])
    fewer = math.sqrt((1 + alike) / (1 - alike))
    slope_error = fewer * noise / math.sqrt(spread)
    level_error = fewer * noise * math.sqrt(1 / count + middle**2 / spread)
    if slope <= SURE * slope_error or slope * float(np.ptp(when)) <= noise:
        return None
    return _Heading(now, slope, level_error, slope_error, float(-when[0]))


def _bend(at: Floats, level: Floats) -> float:
    """Return where the last straight part begins: bends are looked for until none is left."""
    count = len(at)
    if count < 3 * LEAST_AFTER_BEND:
        return float(at[0])
    places = np.unique(
        np.linspace(LEAST_AFTER_BEND, count - LEAST_AFTER_BEND, BENDS).astype(np.int64)
    )
    straight = _fit(np.column_stack([np.ones(count), at]), level)
    left = float(straight @ straight)
    best, off = 0, straight
    for place in places.tolist():
        table = np.column_stack([np.ones(count), at, np.maximum(0.0, at - at[place])])
        tried = _fit(table, level)
        if tried @ tried < off @ off:
            best, off = place, tried
    error = max(float(off @ off), 1e-18)
    # Errors that resemble their neighbours are worth fewer: a random walk has bends everywhere.
    alike = _alike(off)
    better = (left - error) / (error / (count - 4)) * (1 - alike) / (1 + alike)
    return _bend(at[best:], level[best:]) if best and better > BEND_F else float(at[0])


def _saturates(at: Floats, level: Floats) -> bool:
    """Tell whether the series approaches a level below the limit rather than a line."""
    off = _fit(np.column_stack([np.ones(len(at)), at]), level)
    line = float(off @ off)
    for tau in TAUS:
        table = np.column_stack([np.ones(len(at)), np.exp(-(at + 1) / tau)])
        (asymptote, approach), *_ = np.linalg.lstsq(table, level, rcond=None)
        off = level - table @ (asymptote, approach)
        if off @ off < SATURATION_FIT * line and approach < 0 and asymptote < 1:
            return True
    return False


def _fit(table: Floats, level: Floats) -> Floats:
    """Return what least squares leave."""
    normal = table.T @ table
    coefficients = np.linalg.solve(normal + 1e-12 * np.eye(len(normal)), table.T @ level)
    left: Floats = level - table @ coefficients
    return left


def _alike(off: Floats) -> float:
    """Return how much errors resemble their neighbours: lag-one autocorrelation, 0 to 0.98."""
    size = float(off @ off)
    return min(0.98, max(0.0, float(off[1:] @ off[:-1]) / size)) if size > 0 else 0.0


def _meets(level: float, slope: float, season: _Season | None, span_s: float) -> float:
    """Return when a line, with its season, meets 1, in spans from now; infinite if never."""
    if slope <= 0:
        return 0.0 if level >= 1 else math.inf
    alone = max(0.0, (1 - level) / slope)
    if season is None:
        return alone
    highest = float(season.profile.max())
    first = max(0.0, (1 - level - highest) / slope)
    step = DAY_S / PHASES / span_s
    # Within a day of the first moment at which the season's peak could meet it, a phase at a time.
    begin = int(first / step)
    ahead = np.arange(begin, begin + 2 * PHASES)
    path = level + slope * ahead * step + season.profile[(season.first + ahead) % PHASES]
    over = np.flatnonzero(path >= 1)
    return float(ahead[over[0]] * step) if len(over) else alone


def _deviations(step: float, noise: float, due: float) -> float:
    """Return how many deviations below the limit the line is when ``due`` samples met it.

    With a rise of ``step`` a sample, the expected number of samples over the limit so far is
    ``noise / step * L(z)`` for a line that is z deviations below it, where L is the normal loss
    function, ``pdf(z) - z * (1 - cdf(z))``. The chance of none is ``exp(-number)``.
    """
    if not noise:
        return 0.0
    low, high = -MOST_DEVIATIONS, MOST_DEVIATIONS
    while high - low > 0.01:  # noqa: PLR2004 - a hundredth of a deviation
        middle = (low + high) / 2
        tail = math.erfc(middle / math.sqrt(2)) / 2
        loss = math.exp(-(middle**2) / 2) / math.sqrt(2 * math.pi) - middle * tail
        low, high = (middle, high) if noise * loss > step * due else (low, middle)
    return low


def _z(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)
