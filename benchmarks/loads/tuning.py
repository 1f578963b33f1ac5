"""Chooses each policy's settings with equal effort: 24 settings, first halves of the loads only.

A setting's loss is the mean over the loads of ``log(hours) + 2 log(late / 0.00033)``, the second
term only above that: twice too much late is as bad as four times the cost, and a third of the
objective is aimed at, since what comes may be worse than what was. Of the loads the first
two weeks are taken, and of those the first half. For each load the choice is made once more
without it, and what that choice does on its second half is shown: what holds elsewhere, not here.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.loads import peers, simulation
from outrider.supervisor.scaling import Scaler, Tuning

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.loads.simulation import Load, Outcome, Policy

TUNED_S = 14 * 86_400.0
LATE, LATE_COUNTS = 0.00033, 2.0
Settings = tuple[Any, ...]


def ours(margin: float, learn: float, most_margin: float, of_record: float) -> Scaler:
    tuning = Tuning(margin=margin, learn=learn, most_margin=most_margin, of_record=of_record)
    return Scaler(simulation.LEAST, simulation.MOST, tuning=tuning)


_CELERY = ((5, 10, 20, 30, 60, 120), (1, 2, 4, 8))
GRIDS: dict[str, tuple[Callable[..., Policy], tuple[tuple[Any, ...], ...]]] = {
    "outrider": (ours, ((2.0, 3.0), (1.0, 2.0), (6.0, 8.0), (0.1, 0.3, 0.5))),
    "hpa": (peers.Hpa, ((0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (60.0, 300.0), (15.0, 30.0))),
    "keda": (peers.Keda, ((0.1, 0.25, 0.5, 1.0), (5.0, 15.0, 30.0), (60.0, 300.0))),
    "celery": (peers.Celery, _CELERY),
    "celery before 5.7": (functools.partial(peers.Celery, idle=False), _CELERY),
    "thresholds": (
        peers.Thresholds, ((0.5, 0.6, 0.75, 0.9), (0.25, 0.4), (5.0, 15.0, 30.0)),
    ),
}  # fmt: skip


def main() -> None:
    chosen = harness.options(__doc__ or "", needs="loads")
    loads = [
        simulation.read(path, longest_s=TUNED_S)
        for path in sorted((chosen.data / "loads").iterdir())
    ]
    for name, (make, grid) in GRIDS.items():
        settings = list(itertools.product(*grid))
        first = {
            setting: [simulation.run(make(*setting), load.part(0, 0.5))[0] for load in loads]
            for setting in settings
        }
        best = min(settings, key=lambda setting: loss(first[setting]))
        line = {
            "policy": name, "settings": len(settings), "chosen": best,
            "first halves": shown(loads, first[best]),
            "without the load itself": _left_out(loads, make, first),
        }  # fmt: skip
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def loss(outcomes: list[Outcome]) -> float:
    each = [
        math.log(outcome.hours_ratio)
        + LATE_COUNTS * max(0.0, math.log(max(outcome.violations, 1e-9) / LATE))
        for outcome in outcomes
    ]
    return sum(each) / len(each)


def shown(loads: list[Load], outcomes: list[Outcome]) -> dict[str, list[float]]:
    return {
        load.name: [round(outcome.violations, 5), round(outcome.hours_ratio, 3)]
        for load, outcome in zip(loads, outcomes, strict=True)
    }


def _left_out(
    loads: list[Load], make: Callable[..., Policy], first: dict[Settings, list[Outcome]]
) -> dict[str, Any]:
    found = {}
    for place, load in enumerate(loads):
        others = {
            setting: [outcome for at, outcome in enumerate(outcomes) if at != place]
            for setting, outcomes in first.items()
        }
        best = min(others, key=lambda setting: loss(others[setting]))
        second = simulation.run(make(*best), load)[1]
        found[load.name] = [best, *shown([load], [second])[load.name]]
    return found


if __name__ == "__main__":
    main()
