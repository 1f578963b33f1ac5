"""A bot's replicas under a recorded load: a fluid queue in ticks of five seconds.

A load file is a CSV of ``timestamp,rate``, perhaps gzipped, with any step. It is scaled so that its
99.9th percentile is the work of 40 replicas, and interpolated between its points; ``held`` keeps
each rate for its whole step instead, so that all of a minute's rise comes at once. Policies may
have 1 to 120 replicas. Those they add work from the next tick on, those they drop leave at once.
Work is late when a tick ends with more than two seconds of it waiting for each replica. Cost is in
ticks of replicas, against an oracle that knows the next tick and has just enough for it.
"""

from __future__ import annotations

import gzip
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TICK_S = 5.0
LEAST, MOST = 1, 120
WAIT_S = 2.0
_SCALE_QUANTILE, _SCALE_REPLICAS = 0.999, 40.0


class Policy(Protocol):
    """What is judged; :class:`outrider.supervisor.scaling.Scaler` is one."""

    def observe(
        self, at_s: float, rate: float, queue: float, replicas: int, service_rate: float
    ) -> int:
        """Return how many replicas are wanted from the next tick on."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """A load in requests a second at each tick; a replica does ``service_rate`` of them."""

    name: str
    times_s: NDArray[np.float64]
    rates: NDArray[np.float64]
    service_rate: float

    def part(self, start: float, end: float) -> Load:
        """Return a part of it, by shares of its length."""
        first, last = int(len(self.times_s) * start), int(len(self.times_s) * end)
        return Load(self.name, self.times_s[first:last], self.rates[first:last], self.service_rate)


@dataclass(slots=True)
class Outcome:
    """What became of the work, and what it cost; sums, so that parts can be subtracted."""

    late: float = 0.0
    work: float = 0.0
    replicas: float = 0.0
    oracle: float = 0.0
    changes: int = 0

    @property
    def violations(self) -> float:
        """Return the share of work that was late."""
        return self.late / self.work if self.work else 0.0

    @property
    def hours_ratio(self) -> float:
        """Return replica-hours against the oracle's."""
        return self.replicas / self.oracle

    def since(self, before: Outcome) -> Outcome:
        """Return what happened after ``before``."""
        return Outcome(
            self.late - before.late, self.work - before.work, self.replicas - before.replicas,
            self.oracle - before.oracle, self.changes - before.changes,
        )  # fmt: skip


def read(path: Path, *, held: bool = False, longest_s: float = math.inf) -> Load:
    """Return the load in a file, its first ``longest_s`` seconds. Its name is the file's."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    times_s, rates = np.loadtxt(text.splitlines(), delimiter=",", skiprows=1, unpack=True)
    scale = float(np.quantile(rates, _SCALE_QUANTILE))
    end_s = min(float(times_s[-1]), float(times_s[0]) + longest_s)
    ticks_s = np.arange(float(times_s[0]), end_s, TICK_S)
    if held:
        at = rates[np.searchsorted(times_s, ticks_s, side="right") - 1]
    else:
        at = np.interp(ticks_s, times_s, rates)
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    return Load(name, ticks_s, at, scale / _SCALE_REPLICAS)


def run(policy: Policy, load: Load, *, start_s: float = 0.005) -> tuple[Outcome, Outcome]:
    """Return the outcome of the whole load, and that of its second half.

    A replica takes ``start_s``; what is less than half a tick counts as none.
    """
    outcome, half = Outcome(), Outcome()
    middle = len(load.times_s) // 2
    replicas, queue, oracle_queue = LEAST, 0.0, 0.0
    starting: deque[int] = deque([0] * round(start_s / TICK_S))
    served = load.service_rate
    for tick, (at_s, rate) in enumerate(
        zip(load.times_s.tolist(), load.rates.tolist(), strict=True)
    ):
        if tick == middle:
            half = outcome.since(Outcome())
        queue = max(0.0, queue + (rate - replicas * served) * TICK_S)
        outcome.work += rate
        outcome.late += rate if queue > WAIT_S * replicas * served else 0.0
        outcome.replicas += replicas
        knowing = _within(math.ceil((rate + oracle_queue / TICK_S) / served - 1e-9))
        oracle_queue = max(0.0, oracle_queue + (rate - knowing * served) * TICK_S)
        outcome.oracle += knowing
        there = replicas + sum(starting)
        wanted = _within(policy.observe(at_s, rate, queue, there, served))
        outcome.changes += wanted != there
        if not starting:
            replicas = wanted
            continue
        starting.append(max(0, wanted - there))
        for place in range(len(starting) - 1, -1, -1):  # of too many, those not there yet go first
            gone = min(starting[place], max(0, replicas + sum(starting) - wanted))
            starting[place] -= gone
        replicas = min(replicas, wanted) + starting.popleft()
    return outcome, outcome.since(half)


def _within(replicas: int) -> int:
    return min(MOST, max(LEAST, replicas))
