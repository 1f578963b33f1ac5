from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.validation import runner, targets
from outrider.validation.runner import PHASES
from outrider.validation.targets import TARGETS, Target

if TYPE_CHECKING:
    from outrider.validation.env import Env


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_every_target_says_why_it_is_that_much(target: Target) -> None:
    assert len(target.reason.split()) >= 5
    assert target.reason[0].islower() or target.reason.startswith("SELECT")
    assert not target.reason.endswith(".")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_every_target_belongs_to_a_phase_and_carries_its_unit(target: Target) -> None:
    assert target.name.partition(".")[0] in PHASES
    suffix = {"s": "_s", "ratio": "_ratio", "bytes": "_bytes", "ticks": "_ticks"}
    assert target.name.endswith(suffix.get(target.unit, ""))


def test_no_two_targets_give_the_same_reason_in_one_phase() -> None:
    given = [(target.name.partition(".")[0], target.reason) for target in TARGETS.values()]
    assert len(given) == len(set(given))


def test_a_whole_run_measures_every_target_and_names_figures_by_their_phase(env: Env) -> None:
    phases = runner.run(env).phases
    judged = {figure.name for phase in phases for figure in phase.figures if figure.comparison}
    assert judged == set(TARGETS)
    for phase in phases:
        assert all(figure.name.startswith(f"{phase.name}.") for figure in phase.figures)


def test_a_value_is_judged_against_its_target() -> None:
    figure = targets.judge("cache.left_behind", 3, "three left")
    assert (figure.value, figure.target, figure.comparison, figure.passed) == (3, 0.0, "==", False)
    assert figure.note == "three left"
    assert targets.judge("cache.left_behind", 0).passed is True


def test_a_value_that_should_be_there_and_is_not_misses_its_target() -> None:
    assert targets.judge("monitoring.row_age_ticks", None).passed is False


def test_what_is_not_there_to_be_measured_is_not_judged() -> None:
    figure = targets.unmeasured("database.plan.used_ratio", "no limit is known")
    assert (figure.value, figure.passed) == (None, None)
    assert figure.note == "no limit is known"
