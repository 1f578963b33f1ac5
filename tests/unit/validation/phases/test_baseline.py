from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from outrider.clock import tick_at
from outrider.validation.phases import baseline

if TYPE_CHECKING:
    from outrider.supervisor.supervisor import Supervisor
    from outrider.validation.env import Env
    from outrider.validation.figure import Figure
    from tests.unit.validation.conftest import Stack, Time


def measured(env: Env) -> dict[str, Figure]:
    return {figure.name.removeprefix("baseline."): figure for figure in baseline.run(env)}


def test_ticks_that_all_came_are_counted_whole(env: Env, stack: Stack) -> None:
    stack.past(60)
    figure = measured(env)["ticks.present_ratio"]
    assert (figure.value, figure.passed) == (1.0, True)
    assert figure.note == "60 of 60 ticks, one every 10 s"


def test_missing_ticks_are_seen(env: Env, stack: Stack) -> None:
    newest = tick_at(env.clock.now(), 10.0)
    stack.skipped = {newest - 20, newest - 21, newest - 22}
    stack.past(60)
    figure = measured(env)["ticks.present_ratio"]
    assert figure.passed is False
    assert figure.note.startswith("57 of 60 ticks")


def test_ticks_before_the_stack_was_up_are_not_expected(env: Env, stack: Stack, time: Time) -> None:
    stack.past(3)
    stack.wrote(started_s=time.now() - 42)
    figure = measured(env)["ticks.present_ratio"]
    assert (figure.value, figure.note) == (1.0, "3 of 3 ticks, one every 10 s")


def test_a_stack_that_just_started_has_nothing_to_show_yet(
    env: Env, stack: Stack, time: Time
) -> None:
    stack.past(1)
    stack.wrote(started_s=time.now() - 5)
    figure = measured(env)["ticks.present_ratio"]
    assert (figure.value, figure.passed) == (None, False)
    assert "try 10 s later" in figure.note


def test_the_lag_is_from_the_start_of_the_next_tick_to_its_row(env: Env, stack: Stack) -> None:
    stack.past(2)
    figure = measured(env)["tick.lag_s"]
    assert pytest.approx(figure.value, abs=0.03) == 0.25
    assert figure.passed


def test_a_tick_whose_row_does_not_come_misses_the_target(env: Env, stack: Stack) -> None:
    stack.past(2)
    stack.stopped = True
    figure = measured(env)["tick.lag_s"]
    assert (figure.value, figure.passed) == (None, False)
    assert "no row within 10 s" in figure.note


def test_a_tick_that_is_far_away_is_not_waited_for(env: Env, stack: Stack, time: Time) -> None:
    stack.past(2)
    before_s = time.now()
    env.store.interval_s = 3600.0
    figure = measured(env)["tick.lag_s"]
    assert figure.passed is None
    assert "away" in figure.note
    assert time.now() - before_s < 60


def test_without_a_supervisor_nobody_says_what_the_stack_costs(env: Env, stack: Stack) -> None:
    stack.past(2)
    figures = measured(env)
    for name in ("stack.cpu_cores", "stack.pss_bytes"):
        assert figures[name].passed is None
        assert "no supervisor answers" in figures[name].note


def test_the_cost_is_of_the_stacks_own_processes(
    env: Env, stack: Stack, supervisor: Supervisor
) -> None:
    stack.past(2)
    stack.wrote(started_s=0.0, supervisor_pid=os.getpid())
    figures = measured(env)
    assert figures["stack.cpu_cores"].value is not None
    pss = figures["stack.pss_bytes"].value
    # Two Pythons, this one with numpy, SQLAlchemy and the rest.
    assert isinstance(pss, int | float)
    assert pss > 20 << 20
    assert "worker and the supervisor" in figures["stack.cpu_cores"].note


def test_host_versions_and_series_are_told(env: Env, stack: Stack) -> None:
    stack.past(2)
    figures = measured(env)
    assert os.cpu_count() == figures["host.cores"].value
    assert str(figures["version.server"].value).startswith("Valkey ")
    assert (figures["hosts"].value, figures["series"].value) == (2, 4)
    assert "fleet, one" in figures["hosts"].note
