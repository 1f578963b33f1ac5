from __future__ import annotations

import math

import pytest

from outrider.validation.figure import Comparison, Figure, Phase, fact, holds


@pytest.mark.parametrize(
    ("value", "comparison", "target", "expected"),
    [
        (1.0, "<=", 1.0, True),
        (1.1, "<=", 1.0, False),
        (1.0, ">=", 1.0, True),
        (0.9, ">=", 1.0, False),
        (0.0, "==", 0.0, True),
        (1.0, "==", 0.0, False),
        (math.nan, "<=", 1.0, False),
        (math.nan, ">=", 1.0, False),
    ],
)
def test_a_target_is_met_at_its_limit_and_never_by_nan(
    value: float, comparison: Comparison, target: float, *, expected: bool
) -> None:
    assert expected == holds(value, comparison, target)


def test_a_fact_is_not_judged() -> None:
    assert Figure("host.cores", 2, "cores", None, "", None) == fact("host.cores", 2, "cores")


def test_a_phase_names_only_what_was_missed() -> None:
    missed = Figure("a", 2.0, "s", 1.0, "<=", passed=False)
    phase = Phase("cache", "failed", "", 0.0, 1.0, (fact("b", 1, ""), missed))
    assert (missed,) == phase.missed
