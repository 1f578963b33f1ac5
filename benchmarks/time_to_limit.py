"""How well time_to_limit tells when something runs full, beside PromQL's predict_linear.

A seeded generator makes series of 30 days at five minutes, in shares of a limit of 1. Some run full
at a known time: plain leaks, leaks under a daily season, under a garbage collector's saw-tooth,
that begin in the middle, that follow deploy steps, disks filled in bursts. Others never do:
seasons, saw-teeth, log rotation, plateaus, caches that warm up, deploy steps, slow noise.

Each hour every estimator sees the last seven days. Error: relative error of the time left, at all
hours when one to 72 hours were left in truth; a missing answer counts as an error of 1. False
alarm: an answer below 24 hours when more than 96 were left, or for ever; hours that follow one
another are one alarm, and so are those less than three hours apart. predict_linear is least squares
over the last 1, 6 or 24 hours; on each figure the best of the three is the peer.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import harness
from outrider.analysis.exhaustion import time_to_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STEP_S = 300.0
DAYS = 30
POINTS = int(DAYS * 86_400 / STEP_S)
SEEN = int(7 * 86_400 / STEP_S)
HOUR = int(3600 / STEP_S)
ALARM_H, CALM_H = 24.0, 96.0
JUDGED_H = (1.0, 72.0)
EPISODE_GAP_H = 3
WINDOWS_H = (1, 6, 24)
SEED = 20_261_124


def main() -> None:
    chosen = harness.options(__doc__ or "")
    each = 2 if chosen.quick else 8
    tallies = {name: Tally() for name in ("ours", *(f"predict_linear {h}h" for h in WINDOWS_H))}
    by_kind: dict[str, Tally] = {}
    seconds = 0.0
    calls = 0
    for kind, make in KINDS.items():
        for number in range(each):
            rng = np.random.default_rng([SEED, number, *kind.encode()])
            values = make(rng)
            left = hours_left(values)
            answers: dict[str, list[float | None]] = {name: [] for name in tallies}
            hours = range(12 * HOUR, int(np.argmax(values >= 1) or POINTS), HOUR)
            for end in hours:
                seen = values[max(0, end - SEEN) : end]
                times = np.arange(end - len(seen), end) * STEP_S
                start = time.process_time()
                found = time_to_limit(times, seen, limit=1.0)
                seconds += time.process_time() - start
                calls += 1
                answers["ours"].append(found.eta_s / 3600 if found else None)
                for span_h in WINDOWS_H:
                    answers[f"predict_linear {span_h}h"].append(predict_linear(seen, span_h))
            true = [left[end] for end in hours]
            for name, said in answers.items():
                tallies[name].add(said, true)
            by_kind.setdefault(kind, Tally()).add(answers["ours"], true)
    ours = tallies.pop("ours").figures()
    peers = {name: tally.figures() for name, tally in tallies.items()}
    error = min(peer["median_error"] for peer in peers.values())
    alarms = min(peer["false_alarms_per_series_month"] for peer in peers.values())
    figures = {
        "error_ratio": round(ours["median_error"] / error, 4),
        "false_alarm_ratio": round(ours["false_alarms_per_series_month"] / alarms, 4),
        **ours,
        "ms_per_call": round(1000 * seconds / calls, 3),
        "series": each * len(KINDS),
        "by_kind": {kind: tally.figures() for kind, tally in by_kind.items()},
    }
    harness.finish("time_to_limit", figures, peers)


@dataclass
class Tally:
    """What one estimator said, held against the truth."""

    errors: list[float] = field(default_factory=list)
    false_alarms: int = 0
    months: float = 0.0
    warned: int = 0
    ran_full: int = 0

    def add(self, said: Iterable[float | None], true: Iterable[float]) -> None:
        """Hold the answers of one series, an hour apart, against the hours that were left."""
        last_alarm = -math.inf
        warned = False
        full = False
        hours = 0
        for hour, (answer, left) in enumerate(zip(said, true, strict=True)):
            hours += 1
            if JUDGED_H[0] <= left <= JUDGED_H[1]:
                full = True
                self.errors.append(1.0 if answer is None else abs(answer - left) / left)
            if answer is not None and answer < ALARM_H:
                warned = warned or left < CALM_H
                if left > CALM_H:
                    self.false_alarms += hour - last_alarm > EPISODE_GAP_H
                    last_alarm = hour
        self.months += hours / (DAYS * 24)
        self.ran_full += full
        self.warned += warned and full

    def figures(self) -> dict[str, float]:
        """Return what the benchmark reports of it."""
        return {
            "median_error": round(statistics.median(self.errors), 4) if self.errors else 0.0,
            "false_alarms_per_series_month": round(self.false_alarms / self.months, 4),
            "warned_of_those_that_ran_full": round(self.warned / max(1, self.ran_full), 4),
        }


def predict_linear(seen: Floats, span_h: int) -> float | None:
    """Return the hours until the least-squares line of the last hours meets 1."""
    values = seen[-span_h * HOUR :]
    at_h = (np.arange(len(values)) - (len(values) - 1)) * STEP_S / 3600
    slope, now = np.polyfit(at_h, values, 1)
    return float((1 - now) / slope) if slope > 0 else None


def hours_left(values: Floats) -> Floats:
    """Return for each point the hours until the series meets 1; infinite when it never does."""
    over = np.flatnonzero(values >= 1)
    if not len(over):
        return np.full(len(values), np.inf)
    left: Floats = (over[0] - np.arange(len(values))) * STEP_S / 3600
    return left


def _hours() -> Floats:
    return np.arange(POINTS) * STEP_S / 3600


def _noise(rng: np.random.Generator, size: float, memory: float = 0.0) -> Floats:
    shocks = rng.standard_normal(POINTS) * size
    if not memory:
        return shocks
    out = np.empty(POINTS)
    level = 0.0
    for place, shock in enumerate(shocks):
        level = memory * level + shock
        out[place] = level
    return out


def _line(rng: np.random.Generator, begin_h: float = 0.0) -> Floats:
    """Rise from a start of 0.2 to 0.5 to the limit, which is met after 4 to 28 days."""
    start, full_h = rng.uniform(0.2, 0.5), rng.uniform(96, 24 * 28)
    full_h = max(full_h, begin_h + 48)
    rise = (1 - start) / (full_h - begin_h)
    return start + rise * np.maximum(0, _hours() - begin_h)


def leak(rng: np.random.Generator) -> Floats:
    return _line(rng) + _noise(rng, rng.uniform(0.001, 0.01))


def seasonal_leak(rng: np.random.Generator) -> Floats:
    day = rng.uniform(0.03, 0.1) * np.sin(2 * np.pi * (_hours() / 24 + rng.random()))
    return _line(rng) - 0.1 + day + _noise(rng, 0.005)


def saw_tooth_leak(rng: np.random.Generator) -> Floats:
    return _line(rng) - 0.1 + _saw(rng, rng.uniform(0.03, 0.12)) + _noise(rng, 0.003)


def late_leak(rng: np.random.Generator) -> Floats:
    return _line(rng, begin_h=rng.uniform(24, 24 * 15)) + _noise(rng, 0.005)


def leak_after_deploys(rng: np.random.Generator) -> Floats:
    return _line(rng) - 0.15 + _steps(rng, 0.04) + _noise(rng, 0.004)


def burst_fill(rng: np.random.Generator) -> Floats:
    """A disk that jobs write to: sizes and times are random, the mean is a line."""
    bursts = rng.exponential(1.0, POINTS) * (rng.random(POINTS) < 0.05)
    start, full_h = rng.uniform(0.2, 0.5), rng.uniform(96, 24 * 28)
    path = np.cumsum(bursts)
    filled: Floats = start + (1 - start) * path / path[min(POINTS - 1, int(full_h * HOUR))]
    return filled


def accelerating_leak(rng: np.random.Generator) -> Floats:
    start, full_h = rng.uniform(0.2, 0.5), rng.uniform(96, 24 * 28)
    return start + (1 - start) * (_hours() / full_h) ** 1.5 + _noise(rng, 0.004)


def season(rng: np.random.Generator) -> Floats:
    day = rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * (_hours() / 24 + rng.random()))
    return rng.uniform(0.35, 0.6) + day + _noise(rng, 0.01)


def saw_tooth(rng: np.random.Generator) -> Floats:
    return rng.uniform(0.3, 0.5) + _saw(rng, rng.uniform(0.1, 0.35)) + _noise(rng, 0.004)


def rotation(rng: np.random.Generator) -> Floats:
    """Logs grow all day, at the pace of the day, and are rotated at night."""
    pace = 1 + 0.5 * np.sin(2 * np.pi * (_hours() % 24) / 24)
    grown = np.cumsum(pace) % np.sum(pace[: 24 * HOUR])
    height = rng.uniform(0.2, 0.45) * grown / grown.max()
    logs: Floats = rng.uniform(0.2, 0.4) + height + _noise(rng, 0.003)
    return logs


def plateau(rng: np.random.Generator) -> Floats:
    begin, top = rng.uniform(24, 24 * 10), rng.uniform(0.6, 0.85)
    pace = rng.uniform(0.002, 0.02)
    return np.minimum(top, 0.3 + pace * np.maximum(0, _hours() - begin)) + _noise(rng, 0.006)


def warm_up(rng: np.random.Generator) -> Floats:
    top, tau_h = rng.uniform(0.6, 0.9), rng.uniform(6, 72)
    return top - 0.5 * np.exp(-_hours() / tau_h) + _noise(rng, 0.005)


def deploys(rng: np.random.Generator) -> Floats:
    return rng.uniform(0.2, 0.4) + np.minimum(0.4, _steps(rng, 0.08)) + _noise(rng, 0.006)


def slow_noise(rng: np.random.Generator) -> Floats:
    return rng.uniform(0.4, 0.6) + np.clip(_noise(rng, 0.004, 0.995), -0.3, 0.3)


def _saw(rng: np.random.Generator, height: float) -> Floats:
    every_h = rng.uniform(0.7, 8)
    return height * ((_hours() / every_h + rng.random()) % 1.0)


def _steps(rng: np.random.Generator, size: float) -> Floats:
    level = np.zeros(POINTS)
    for at in rng.integers(0, POINTS, 5):
        level[at:] += rng.uniform(0.3, 1) * size
    return level


KINDS: dict[str, Callable[[np.random.Generator], Floats]] = {
    make.__name__: make
    for make in (
        leak, seasonal_leak, saw_tooth_leak, late_leak, leak_after_deploys, burst_fill,
        accelerating_leak, season, saw_tooth, rotation, plateau, warm_up, deploys, slow_noise,
    )
}  # fmt: skip


if __name__ == "__main__":
    main()
