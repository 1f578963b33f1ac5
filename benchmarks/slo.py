"""Burn-rate alerts with evidence beside the plain ones, where a bot has 1 to 50 events an hour.

Simulated, with a seed: events come at random, each fails by itself. Three services are run at each
rate and objective: one that spends half its budget, one that spends all of it (the worst that still
meets the objective), and one that has incidents. In an incident a quarter, half or all of the
events fail, for 15 minutes to a day. Ticks are ten seconds; every rule is asked at every tick.

- A *false page* is one while nothing is wrong, by the first two services. Pages within an hour of
  each other are one.
- An incident is *detected* when a page fires before it is over. Only incidents in which at least
  three events fail count: one or two failures are what a service without incident has, too, and
  nothing can tell these apart. Recall by number of failures is listed, so that the price is seen.

``plain`` is the multi-window, multi-burn-rate rule of the SRE Workbook. ``literal`` takes the
evidence guard at its word: the bound must exceed the burn of the tier in the long window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import harness
from outrider.slo import burn, evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Ints = NDArray[np.int64]

RATES = (1, 2, 5, 10, 20, 50)
OBJECTIVES = (0.95, 0.99, 0.995, 0.999)
HEALTHY = (0.5, 1.0)
SEVERITIES = (0.25, 0.5, 1.0)
TICKS_PER_H = 360
DAY = 24 * TICKS_PER_H
PERIOD_DAYS = 30
COUNTED = 3
BY_FAILURES = (1, 2, 3, 4, 6, 10)
LITERAL_DOUBT = 0.05
PAGES = tuple(tier for tier in burn.TIERS if tier.severity == "page")


@dataclass(frozen=True)
class Service:
    """Events and failures by tick, as sums, and where its incidents are: ``(start, end)``."""

    budget: float
    looks: float
    totals: Ints
    bads: Ints
    incidents: list[tuple[int, int]] = field(default_factory=list)

    def window(self, span_s: float, at: Ints) -> tuple[Ints, Ints]:
        """Return failures and events of the window that ends with each tick."""
        begins = np.maximum(0, at + 1 - int(span_s / 10))
        return self.bads[at + 1] - self.bads[begins], self.totals[at + 1] - self.totals[begins]

    def holds(self, tier: burn.Tier, at: Ints, share: float = 1.0) -> Mask:
        """Return at which ticks both windows burn at a tier's rate."""
        mask = np.ones(len(at), dtype=bool)
        for span_s in (tier.long_s, tier.short_s):
            bad, total = self.window(span_s, at)
            least = share * tier.burn * self.budget * total * (1 - 1e-9)
            mask &= (bad > 0) & (bad >= least)
        return mask


def made(
    rate: float, objective: float, spent: float, days: int, rng: np.random.Generator, *, ill: bool
) -> Service:
    ticks = days * DAY
    ratio = np.full(ticks, spent * (1 - objective))
    incidents, at = [], 3 * DAY
    while ill:
        at += DAY + int(rng.exponential(DAY))
        length = int(math.exp(rng.uniform(math.log(TICKS_PER_H / 4), math.log(DAY))))
        if at + length >= ticks:
            break
        ratio[at : at + length] = np.maximum(ratio[at : at + length], rng.choice(SEVERITIES))
        incidents.append((at, at + length))
        at += length
    events = rng.poisson(rate / TICKS_PER_H, ticks)
    failed = rng.binomial(events, ratio)
    looks = rate * 24 * PERIOD_DAYS * (1 - objective)
    sums = [np.concatenate([[0], np.cumsum(each)]) for each in (events, failed)]
    return Service(1 - objective, looks, sums[0], sums[1], incidents)


def plain(service: Service, at: Ints) -> Mask:
    mask = np.zeros(len(at), dtype=bool)
    for tier in PAGES:
        mask |= service.holds(tier, at)
    return mask


def guarded(service: Service, at: Ints) -> Iterable[int]:
    """Yield the ticks at which ``burn.decide`` pages, one by one."""
    maybe = np.zeros(len(at), dtype=bool)
    for tier in PAGES:  # it never pages below half of a tier's burn
        maybe |= service.holds(tier, at, 0.5)
    chosen = at[maybe]
    seen = {span_s: service.window(span_s, chosen) for span_s in burn.WINDOWS_S}
    for place, tick in enumerate(chosen.tolist()):
        windows = {
            span_s: burn.Counts(int(bad[place]), int(total[place]))
            for span_s, (bad, total) in seen.items()
        }
        if burn.decide(windows, budget=service.budget, looks=service.looks).page:
            yield tick


def literal(service: Service, at: Ints) -> Iterable[int]:
    for tick in at[plain(service, at)].tolist():
        for tier in PAGES:
            one = np.array([tick])
            bad, total = service.window(tier.long_s, one)
            chance = evidence.tail(int(bad[0]), int(total[0]), tier.burn * service.budget)
            if service.holds(tier, one)[0] and chance < LITERAL_DOUBT:
                yield tick
                break


def _plainly(service: Service, at: Ints) -> Iterable[int]:
    found: list[int] = at[plain(service, at)].tolist()
    return found


RULES: dict[str, Callable[[Service, Ints], Iterable[int]]] = {
    "plain": _plainly, "guarded": guarded, "literal": literal
}  # fmt: skip


def false_pages(service: Service, rule: str) -> int:
    """Return how many pages there are, those within an hour being one."""
    pages, last = 0, -math.inf
    for tick in RULES[rule](service, np.arange(len(service.bads) - 1)):
        pages += tick - last > TICKS_PER_H
        last = tick
    return pages


def detections(service: Service, rule: str) -> list[tuple[int, int | None]]:
    """Return of each incident its failures, and how many there were at the page, if any."""
    found = []
    for start, end in service.incidents:
        failures = int(service.bads[end] - service.bads[start])
        tick = next(iter(RULES[rule](service, np.arange(start, end))), None)
        at_page = None if tick is None else int(service.bads[tick + 1] - service.bads[start])
        found.append((failures, at_page))
    return found


def cell(rate: float, objective: float, days: int, seed: int) -> dict[str, Any]:
    """Return what all rules did at one rate and objective, on the same events."""
    rng = np.random.default_rng([seed, int(rate * 1000), round(objective * 1e6)])
    calm = [made(rate, objective, spent, days, rng, ill=False) for spent in HEALTHY]
    ill = made(rate, objective, HEALTHY[0], days, rng, ill=True)
    return {
        "rate": rate,
        "objective": objective,
        "months": len(HEALTHY) * days / PERIOD_DAYS,
        "false": {rule: sum(false_pages(each, rule) for each in calm) for rule in RULES},
        "incidents": {rule: detections(ill, rule) for rule in RULES},
    }


def recalled(cells: list[dict[str, Any]], rule: str, least: int, most: float = math.inf) -> int:
    return sum(
        least <= failures < most and at_page is not None
        for each in cells
        for failures, at_page in each["incidents"][rule]
    )


def bootstrap(cells: list[dict[str, Any]], rule: str, rng: np.random.Generator) -> list[float]:
    """Return the 95 % interval of the recall ratio, incidents drawn anew, pairs kept together."""
    pairs = np.array([
        (one[1] is not None, two[1] is not None)
        for each in cells
        for one, two in zip(each["incidents"]["plain"], each["incidents"][rule], strict=True)
        if one[0] >= COUNTED
    ])  # fmt: skip
    draws = rng.integers(0, len(pairs), (1000, len(pairs)))
    sums = np.array([pairs[draw].sum(axis=0) for draw in draws])
    return [round(float(each), 4) for each in np.quantile(sums[:, 1] / sums[:, 0], [0.025, 0.975])]


def share(part: int, whole: int) -> list[float] | None:
    """Return the 95 % interval of pages as a share of other pages (both counts are random).

    None where there is nothing to compare with.
    """
    if not whole:
        return None
    low = evidence.lower_bound(part, part + whole, 0.025)
    high = evidence.upper_bound(part, part + whole, 0.025)
    return [round(low / (1 - low), 4), round(high / (1 - high), 4)]


def cost(cells: list[dict[str, Any]], rule: str) -> float:
    """Return the median of failures until the page."""
    at_page = [
        at
        for each in cells
        for failures, at in each["incidents"][rule]
        if at is not None and failures >= COUNTED
    ]
    return float(np.median(at_page))


def summary(cells: list[dict[str, Any]], rule: str, rng: np.random.Generator) -> dict[str, Any]:
    false = {each: sum(one["false"][each] for one in cells) for each in ("plain", rule)}
    months = sum(each["months"] for each in cells)
    counts = {each: recalled(cells, each, COUNTED) for each in ("plain", rule)}
    return {
        "recall_ratio": round(counts[rule] / counts["plain"], 4),
        "recall_ratio_ci95": bootstrap(cells, rule, rng),
        "false_page_ratio": round(false[rule] / false["plain"], 4),
        "false_page_ratio_ci95": share(false[rule], false["plain"]),
        "false_pages_per_month": round(false[rule] / months, 4),
        "failures_until_page_median": cost(cells, rule),
    }


def _between(low: int, high: float) -> str:
    if high == math.inf:
        return f"{low} or more"
    return f"{low}" if high - low == 1 else f"{low} to {high - 1:.0f}"


def of_cell(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all runs of one rate and objective add up to."""
    months = sum(each["months"] for each in runs)
    false = {rule: sum(each["false"][rule] for each in runs) for rule in RULES}
    return {
        "events_per_h": runs[0]["rate"],
        "objective": runs[0]["objective"],
        "plain_false_per_month": round(false["plain"] / months, 3),
        "false_per_month": round(false["guarded"] / months, 3),
        "false_page_ratio_ci95": share(false["guarded"], false["plain"]),
        "incidents": sum(n >= COUNTED for each in runs for n, _ in each["incidents"]["plain"]),
        "plain_detected": recalled(runs, "plain", COUNTED),
        "detected": recalled(runs, "guarded", COUNTED),
    }


def main() -> None:
    chosen = harness.options("Burn-rate alerts with and without evidence, at low traffic.")
    days, seeds = (180, (1,)) if chosen.quick else (360, (1, 2, 3))
    runs = [
        [cell(rate, objective, days, seed) for objective in OBJECTIVES for rate in RATES]
        for seed in seeds
    ]
    cells = [each for run in runs for each in run]
    rng = np.random.default_rng(seeds[0])
    incidents = [
        failures for each in cells for failures, _ in each["incidents"]["plain"]
        if failures >= COUNTED
    ]  # fmt: skip
    months = sum(each["months"] for each in cells)
    detail = [of_cell([run[place] for run in runs]) for place in range(len(runs[0]))]
    by_failures = {
        _between(low, high): [recalled(cells, rule, low, high) for rule in ("plain", "guarded")]
        for low, high in zip(BY_FAILURES, (*BY_FAILURES[1:], math.inf), strict=True)
    }
    plain_false = sum(each["false"]["plain"] for each in cells)
    harness.finish(
        "slo",
        summary(cells, "guarded", rng)
        | {
            "incidents": len(incidents),
            "recall": round(recalled(cells, "guarded", COUNTED) / len(incidents), 4),
            "recall_ratio_runs": [summary(run, "guarded", rng)["recall_ratio"] for run in runs],
            "false_page_ratio_runs": [
                summary(run, "guarded", rng)["false_page_ratio"] for run in runs
            ],
            "detected_by_failures_plain_guarded": by_failures,
            "cells": detail,
        },
        {
            "plain": {
                "recall": round(recalled(cells, "plain", COUNTED) / len(incidents), 4),
                "false_pages_per_month": round(plain_false / months, 4),
                "failures_until_page_median": cost(cells, "plain"),
            },
            "literal": summary(cells, "literal", rng),
        },
    )


if __name__ == "__main__":
    main()
