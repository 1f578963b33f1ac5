"""How many avoidable misses warming avoids, at how many extra loads, on traces of requests.

Of a trace with a time to live, plain caching on demand makes ``D0`` loads, ``C`` of them for keys
never seen before. With warming there are ``M`` misses and ``L`` loads, on demand and ahead:

    coverage = (D0 - M) / (D0 - C)        extra = (L - D0) / D0

Loads take no time and room is unlimited. Every policy runs in the same simulator: it observes each
use in order, and between uses is asked what to load at the moments it names itself.

- **planner**: ``outrider.cache.WarmingPlanner``, with the budget given in the line.
- **oracle**: knows the future, and moves each load on demand to just before its use: coverage 1 at
  no extra load, whatever the trace.
- **xfetch**: a read that hits reloads early with a chance growing towards expiry (Vattani et al.,
  VLDB 2015), for a load that takes 2 % of the time to live, beta 1, seeded.
- **refresh_ahead**: a hit in the last 10 % of the time to live reloads (Unbound's renewal).
- **seed**: from five uses on the next one is expected a mean interval after the last; loaded at a
  tick of a tenth of the time to live, if it lies within two ticks and the value will have expired.

Constants are the same for every trace. Each line also gives the figures of the second half of the
trace alone, and ``worst_window``: the most extra loads in any window of an hour, or of ten times
to live, with at least 100 loads of demand. Traces without times are skipped and named; those whose
name begins with ``synth`` are left out of ``coverage_real``.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from benchmarks import harness
from outrider.cache.planner import WarmingPlanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BUDGET = 0.05
_FEWEST_LOADS = 100
_FEWEST_LIVES = 8  # a trace shorter than this many times to live says little of warming
_DAY_LONG_S = 7200.0
QUICK = 200_000  # requests


class Policy(Protocol):
    """What the simulator asks of a way to warm."""

    def observe(self, key: int, at_s: float, /) -> None:
        """Note a use."""

    def due(self, now_s: float, /) -> Iterable[Any]:
        """Return the keys to load now."""

    def next_due_s(self) -> float | None:
        """Return when to ask for them, or None."""


class _OnRead:
    """A policy that can only act at a read that hits."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self._expires_s: dict[int, float] = {}
        self._ready: list[int] = []
        self._now_s = 0.0

    def observe(self, key: int, at_s: float) -> None:
        self._now_s = at_s
        left_s = self._expires_s.get(key, -math.inf) - at_s
        if left_s <= 0:
            self._expires_s[key] = at_s + self.ttl_s
        elif self.renews(left_s):
            self._ready.append(key)

    def renews(self, left_s: float) -> bool:
        raise NotImplementedError

    def due(self, now_s: float) -> list[int]:
        found, self._ready = self._ready, []
        for key in found:
            self._expires_s[key] = now_s + self.ttl_s
        return found

    def next_due_s(self) -> float | None:
        return self._now_s if self._ready else None


class XFetch(_OnRead):
    """Early expiry by chance."""

    def __init__(self, ttl_s: float) -> None:
        super().__init__(ttl_s)
        self._dice = random.Random(1)

    def renews(self, left_s: float) -> bool:
        return -0.02 * self.ttl_s * math.log(1.0 - self._dice.random()) >= left_s


class RefreshAhead(_OnRead):
    """Renewal in the last tenth of a life."""

    def renews(self, left_s: float) -> bool:
        return left_s <= 0.1 * self.ttl_s


class SeedRule:
    """The mean interval, at ticks."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s, self.tick_s = ttl_s, ttl_s / 10
        self._expires_s: dict[int, float] = {}
        self._uses: dict[int, tuple[int, float, float]] = {}  # count, first, next expected
        self._dues: list[tuple[float, int, float]] = []

    def observe(self, key: int, at_s: float) -> None:
        if at_s >= self._expires_s.get(key, -math.inf):
            self._expires_s[key] = at_s + self.ttl_s
        count, first_s, _ = self._uses.get(key, (0, at_s, 0.0))
        count += 1
        next_s = at_s + (at_s - first_s) / (count - 1) if count > 1 else at_s
        self._uses[key] = (count, first_s, next_s)
        if count >= 5 and next_s >= self._expires_s[key]:
            tick = max(math.ceil(next_s / self.tick_s - 2), math.floor(at_s / self.tick_s) + 1)
            if tick * self.tick_s <= next_s:
                heapq.heappush(self._dues, (tick * self.tick_s, key, next_s))

    def due(self, now_s: float) -> list[int]:
        found = []
        while self._dues and self._dues[0][0] <= now_s:
            _, key, next_s = heapq.heappop(self._dues)
            if self._uses[key][2] == next_s and self._expires_s[key] <= next_s:
                self._expires_s[key] = now_s + self.ttl_s
                found.append(key)
        return found

    def next_due_s(self) -> float | None:
        return self._dues[0][0] if self._dues else None


class Oracle:
    """Loads each key just before the use at which it would be missed."""

    def __init__(self, ttl_s: float, keys: Sequence[int], times: Sequence[float]) -> None:
        expires_s: dict[int, float] = {}
        self._dues: list[tuple[float, int]] = []
        for key, at_s in zip(keys, times, strict=True):
            if at_s >= expires_s.get(key, math.inf):
                self._dues.append((at_s, key))
            if at_s >= expires_s.get(key, -math.inf):
                expires_s[key] = at_s + ttl_s
        self._at = 0

    def observe(self, key: int, at_s: float) -> None:
        """Nothing is news to it."""

    def due(self, now_s: float) -> list[int]:
        found = []
        while self._at < len(self._dues) and self._dues[self._at][0] <= now_s:
            found.append(self._dues[self._at][1])
            self._at += 1
        return found

    def next_due_s(self) -> float | None:
        return self._dues[self._at][0] if self._at < len(self._dues) else None


def simulate(
    policy: Policy, keys: Sequence[int], times: Sequence[float], ttl_s: float
) -> dict[str, float]:
    """Run a trace through a policy and return its figures."""
    expires_s: dict[Any, float] = {}
    plain_s: dict[int, float] = {}
    ahead = misses = demand = 0
    window_s = max(3600.0, 10 * ttl_s)
    marks: list[tuple[int, int]] = [(0, 0)]

    def mark(now_s: float) -> None:
        while now_s >= len(marks) * window_s:
            marks.append((ahead + misses, demand))

    half = (0, 0, 0, 0)
    middle = len(keys) // 2
    for number, (key, at_s) in enumerate(zip(keys, times, strict=True)):
        if number == middle:
            half = (ahead + misses, misses, demand, len(plain_s))
        while (due_s := policy.next_due_s()) is not None and due_s <= at_s:
            mark(due_s)
            for warmed in policy.due(due_s):
                ahead += 1
                expires_s[warmed] = max(expires_s.get(warmed, 0.0), due_s + ttl_s)
        mark(at_s)
        policy.observe(key, at_s)
        if at_s >= expires_s.get(key, -1.0):
            misses += 1
            expires_s[key] = at_s + ttl_s
        if at_s >= plain_s.get(key, -1.0):
            demand += 1
            plain_s[key] = at_s + ttl_s
    marks.append((ahead + misses, demand))
    end = (ahead + misses, misses, demand, len(plain_s))
    windows = [
        ((loads - loads_before) - (needed - needed_before)) / (needed - needed_before)
        for (loads_before, needed_before), (loads, needed) in itertools.pairwise(marks)
        if needed - needed_before >= _FEWEST_LOADS
    ]
    return _figures((0, 0, 0, 0), end) | {
        "worst_window": round(max(windows, default=0.0), 4),
        "second_half": _figures(half, end),
    }


def _figures(before: tuple[int, ...], after: tuple[int, ...]) -> dict[str, Any]:
    loads, misses, demand, first = (b - a for a, b in zip(before, after, strict=True))
    return {
        "coverage": round((demand - misses) / max(1, demand - first), 4),
        "extra": round((loads - demand) / max(1, demand), 4),
    }


def lives(name: str, span_s: float) -> list[float]:
    """Return the times to live that a trace is run with."""
    if name.startswith("synth"):
        wanted = (60.0, 300.0)
    elif span_s >= _DAY_LONG_S:
        wanted = (300.0, 1800.0)
    else:
        wanted = (60.0, 600.0)
    return [ttl_s for ttl_s in wanted if span_s >= _FEWEST_LIVES * ttl_s]


def run(path: Path, ttl_s: float, budget: float, count: int | None) -> dict[str, Any]:
    """Run one trace with one time to live through all policies."""
    with np.load(path) as trace:
        keys, times = trace["k"][:count].tolist(), trace["t"][:count].tolist()
    planner = WarmingPlanner(ttl_s=ttl_s, budget=budget)
    line = {
        "trace": path.stem, "ttl_s": ttl_s, "budget": budget, "requests": len(keys),
        "keys": len(set(keys)),
        "planner": simulate(planner, keys, times, ttl_s),
    }  # fmt: skip
    line["demand"] = planner.budget.shadow_loads
    counts = planner.counts
    line["ahead"] = {
        "loads": counts.ahead, "useful": counts.useful, "wasted": counts.wasted,
        "refused": counts.refused,
    }  # fmt: skip
    if budget == BUDGET:
        others: dict[str, Policy] = {
            "oracle": Oracle(ttl_s, keys, times),
            "xfetch": XFetch(ttl_s),
            "refresh_ahead": RefreshAhead(ttl_s),
            "seed": SeedRule(ttl_s),
        }
        for name, policy in others.items():
            found = simulate(policy, keys, times, ttl_s)
            line[name] = {"coverage": found["coverage"], "extra": found["extra"]}
    return line


def cases(folder: Path) -> tuple[list[tuple[Path, float, float]], list[str]]:
    """Return what to run, and the names of traces without times."""
    found, skipped = [], []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as trace:
            if "t" not in trace:
                skipped.append(path.stem)
                continue
            span_s = float(trace["t"][-1] - trace["t"][0])
        for ttl_s in lives(path.stem, span_s):
            found += [
                (path, ttl_s, budget) for budget in (BUDGET, *_further_budgets(path.stem, ttl_s))
            ]
    return found, skipped


def _further_budgets(name: str, ttl_s: float) -> list[float]:
    if name.startswith("rita_http"):
        return [0.12]
    return [0.1] if name.startswith("synth") and ttl_s == 60 else []


def _mean(lines: list[dict[str, Any]], policy: str, figure: str) -> float | None:
    return round(fmean(line[policy][figure] for line in lines), 4) if lines else None


def main() -> None:
    """Run everything, print a table and one line of JSON."""
    options = harness.options(__doc__ or "", needs="traces")
    wanted, skipped = cases(options.data / "traces")
    with ProcessPoolExecutor(max_workers=2) as pool:
        lines = list(
            pool.map(
                run,
                *zip(*[(*case, QUICK if options.quick else None) for case in wanted], strict=True),
            )
        )
    for line in lines:
        found = line["planner"]
        sys.stderr.write(
            f"{line['trace']:22} {line['ttl_s']:6.0f} s  budget {line['budget']:.2f}  "
            f"coverage {found['coverage']:.3f}  extra {found['extra']:.3f}  "
            f"worst window {found['worst_window']:.3f}\n"
        )
    if skipped:
        sys.stderr.write(f"without times, skipped: {', '.join(skipped)}\n")

    def of(name: str, budget: float, ttl_s: float | None = None) -> list[dict[str, Any]]:
        return [
            line
            for line in lines
            if line["trace"].startswith(name)
            and line["budget"] == budget
            and ttl_s in (None, line["ttl_s"])
        ]

    real = [line for line in of("", BUDGET) if not line["trace"].startswith("synth")]
    harness.finish(
        "cache_warming",
        {
            "coverage_real": _mean(real, "planner", "coverage"),
            "extra_real": _mean(real, "planner", "extra"),
            "extra_real_most": max((line["planner"]["extra"] for line in real), default=None),
            "rita_http_coverage": _mean(of("rita_http", 0.12), "planner", "coverage"),
            "fleet_60s_coverage": _mean(of("synth", 0.1, 60), "planner", "coverage"),
            "fleet_300s_coverage": _mean(of("synth", BUDGET, 300), "planner", "coverage"),
            "lines": lines,
            "skipped": skipped,
        },
        {
            policy: {figure: _mean(real, policy, figure) for figure in ("coverage", "extra")}
            for policy in ("oracle", "xfetch", "refresh_ahead", "seed")
        },
    )


if __name__ == "__main__":
    main()
