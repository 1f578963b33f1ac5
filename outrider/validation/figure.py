"""What a validation measures and concludes, as plain data: figures, phases, a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Comparison = Literal["<=", ">=", "==", ""]
State = Literal["passed", "failed", "skipped"]
Value = float | str | None


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, and its target if it has one.

    ``passed`` is None where nothing is to be judged: a fact without a target, or something that is
    not there to be measured; ``note`` then says why.
    """

    name: str
    value: Value
    unit: str
    target: float | None = None
    comparison: Comparison = ""
    passed: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase: what it measured before it ended, however it ended."""

    name: str
    state: State
    reason: str
    started_s: float
    seconds: float
    figures: tuple[Figure, ...] = ()

    @property
    def missed(self) -> tuple[Figure, ...]:
        """Return the figures that missed their targets."""
        return tuple(figure for figure in self.figures if figure.passed is False)


@dataclass(frozen=True, slots=True)
class Report:
    """One run. It passed when a phase passed and none failed: only skipping proves nothing."""

    run: str
    host: str
    version: str
    started_s: float
    seconds: float
    passed: bool
    phases: tuple[Phase, ...]


def fact(name: str, value: Value, unit: str, note: str = "") -> Figure:
    """Return a figure without a target."""
    return Figure(name, value, unit, note=note)


def holds(value: float, comparison: Comparison, target: float) -> bool:
    """Tell whether a value meets a target.

    >>> holds(0.2, "<=", 0.5), holds(0.2, ">=", 0.5), holds(float("nan"), "<=", 1)
    (True, False, False)
    """
    match comparison:
        case "<=":
            return value <= target
        case ">=":
            return value >= target
        case _:
            return value == target
