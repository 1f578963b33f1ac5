"""What work waits and what replicas cost when a scaler follows recorded loads.

Reads every file of DIR/loads, of each two weeks at most. For each load and policy: the share of
work that waited longer than two seconds, and replica-hours against an oracle that knows the next
tick (see ``benchmarks.loads.simulation``), over the whole and over its second half. The peers'
settings were chosen on the first halves (``benchmarks.loads.tuning``, 24 settings each), ours too,
but the last of them by hand, after results on the second halves had been seen: only other files are
a clean test. Beside them, as hardships: the rate held over each step, so that all of a minute's
rise comes at once; and replicas that take 30 seconds to start, which shows what a quick start is
worth.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.loads import peers, simulation
from outrider.supervisor.scaling import Scaler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from benchmarks.loads.simulation import Load, Outcome, Policy

LONGEST_S, QUICK_S = 14 * 86_400.0, 3 * 86_400.0
SLOW_START_S = 30.0


def ours() -> Policy:
    return Scaler(simulation.LEAST, simulation.MOST)


def slow() -> Policy:
    return Scaler(simulation.LEAST, simulation.MOST, start_s=SLOW_START_S)


# As benchmarks.loads.tuning chose them; the last is its authors' own setting, for comparison.
PEERS: dict[str, Callable[[], Policy]] = {
    "hpa": lambda: peers.Hpa(0.3, 60.0, 15.0),
    "keda": lambda: peers.Keda(0.25, 5.0, 300.0),
    "celery": lambda: peers.Celery(60, 2, idle=True),
    "celery before 5.7": lambda: peers.Celery(10, 4, idle=False),
    "thresholds": lambda: peers.Thresholds(0.5, 0.25, 5.0),
    "hpa at 70 %": peers.Hpa,
}


def main() -> None:
    chosen = harness.options(__doc__ or "", needs="loads")
    files = sorted(path for path in (chosen.data / "loads").iterdir() if ".csv" in path.suffixes)
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    cost: list[float] = []
    for path in files:
        load = simulation.read(path, longest_s=QUICK_S if chosen.quick else LONGEST_S)
        begun = time.process_time()
        whole, second = simulation.run(ours(), load)
        cost.append(1e6 * (time.process_time() - begun) / len(load.times_s))
        short = load.name.partition("_")[0]
        for half, outcome in (("", whole), ("_second_half", second)):
            figures[f"{short}_violations{half}"] = round(outcome.violations, 6)
            figures[f"{short}_hours_ratio{half}"] = round(outcome.hours_ratio, 4)
        rows.append(_row(load, "outrider", whole, second))
        rows += [_row(load, name, *simulation.run(make(), load)) for name, make in PEERS.items()]
        rows += _hardships(path, load)
        _show(rows[-len(PEERS) - 3 :])
    figures["us_per_decision"] = round(max(cost), 1)
    figures["rows"] = rows
    harness.finish("scaling", figures, _peers(rows))


def _hardships(path: Path, load: Load) -> Iterable[dict[str, Any]]:
    longest_s = load.times_s[-1] - load.times_s[0] + simulation.TICK_S
    held = simulation.read(path, held=True, longest_s=float(longest_s))
    yield _row(load, "outrider, rates held", *simulation.run(ours(), held))
    outcome = simulation.run(slow(), load, start_s=SLOW_START_S)
    yield _row(load, "outrider, 30 s to start", *outcome)


def _row(load: Load, policy: str, whole: Outcome, second: Outcome) -> dict[str, Any]:
    return {
        "trace": load.name,
        "policy": policy,
        "violations": round(whole.violations, 6),
        "hours_ratio": round(whole.hours_ratio, 4),
        "second_half": [round(second.violations, 6), round(second.hours_ratio, 4)],
        "changes_per_hour": round(whole.changes * 720 / len(load.times_s), 1),
    }


def _peers(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each peer's violations and hours on the second half of each load."""
    return {
        name: {row["trace"]: row["second_half"] for row in rows if row["policy"] == name}
        for name in PEERS
    }


def _show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        late, hours = row["second_half"]
        sys.stderr.write(
            f"{row['trace']:26} {row['policy']:24} whole {row['violations']:8.3%}"
            f" x{row['hours_ratio']:6.2f}   second half {late:8.3%} x{hours:6.2f}\n"
        )


if __name__ == "__main__":
    main()
