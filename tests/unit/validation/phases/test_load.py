from __future__ import annotations

import dataclasses
import itertools
import time
from typing import TYPE_CHECKING

import pytest

from outrider.store.redis import RedisStore
from outrider.validation.phases import load

if TYPE_CHECKING:
    from outrider.samples import Values
    from outrider.supervisor.supervisor import Supervisor
    from outrider.validation.env import Env
    from outrider.validation.figure import Figure
    from tests.unit.validation.conftest import TasksInHand, Time


def measured(env: Env) -> dict[str, Figure]:
    return {figure.name.removeprefix("load."): figure for figure in load.run(env)}


def test_all_that_was_planned_is_sent_and_comes_back(env: Env, tasks: TasksInHand) -> None:
    figures = measured(env)
    assert tuple(figures[name].value for name in ("tasks.sent", "tasks.lost", "tasks.errors")) == (
        250,
        0,
        0,
    )
    assert pytest.approx(figures["tasks.kept_up_ratio"].value, abs=0.02) == 1.0
    assert pytest.approx(figures["tasks.latency_p95_s"].value, abs=0.005) == 0.01
    assert (
        figures["rows.lost"].value, figures["rows.lost"].note,
    ) == (0, "125 of 125 rows of 300 series read back the same")  # fmt: skip
    assert sorted(tasks.sent_s) == sorted(tasks.forgotten)


def test_tasks_are_sent_evenly_over_the_time(env: Env, tasks: TasksInHand) -> None:
    measured(env)
    sent_s = sorted(tasks.sent_s.values())
    gaps = [after - before for before, after in itertools.pairwise(sent_s)]
    assert max(gaps) < 0.05
    assert pytest.approx(sent_s[-1] - sent_s[0], abs=0.1) == 5.0


def test_tasks_that_never_come_back_are_lost_and_the_wait_for_them_ends(
    env: Env, tasks: TasksInHand, time: Time
) -> None:
    tasks.lose = lambda number: number % 10 == 0
    before_s = time.now()
    figures = measured(env)
    assert (figures["tasks.lost"].value, figures["tasks.lost"].passed) == (25, False)
    assert pytest.approx(figures["tasks.kept_up_ratio"].value, abs=0.02) == 225 / 250
    assert time.now() - before_s < 11


def test_tasks_that_fail_or_can_not_be_sent_are_errors(
    env: Env, tasks: TasksInHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.fail = lambda number: number < 3
    send, calls = tasks.send, iter(range(10_000))

    def refuse() -> str:
        if next(calls) in (50, 51):
            raise ConnectionError("the broker is away")
        return send()

    monkeypatch.setattr(tasks, "send", refuse)
    figures = measured(env)
    assert (figures["tasks.errors"].value, figures["tasks.errors"].passed) == (5, False)
    assert "the broker is away" in figures["tasks.errors"].note
    assert figures["tasks.sent"].value == 248


def test_slow_tasks_do_not_keep_up(env: Env, tasks: TasksInHand) -> None:
    tasks.after_s = 2.0
    figures = measured(env)
    assert figures["tasks.kept_up_ratio"].passed is False
    assert figures["tasks.latency_p95_s"].passed is False
    assert figures["tasks.lost"].value == 0


def test_a_row_that_is_changed_on_its_way_is_lost(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RedisStore.append

    def garble(self: RedisStore, host: str, tick: int, values: Values) -> bool:
        if tick % 50 == 0:
            values = {**values, "load.series.007": -1.0}
        return append(self, host, tick, values)

    monkeypatch.setattr(RedisStore, "append", garble)
    figure = measured(env)["rows.lost"]
    assert figure.passed is False
    assert figure.value in (2, 3)


def test_nothing_is_left_in_redis_and_no_page_sees_the_host(env: Env) -> None:
    env.store.append("one", 1, {"a": 1.0})
    before = set(env.redis.scan_iter())
    assert measured(env)["left_behind"].value == 0
    assert before == set(env.redis.scan_iter())
    assert env.store.hosts() == ["one"]


def test_the_supervisor_takes_the_frames_and_gives_them_to_no_bot(
    env: Env, supervisor: Supervisor
) -> None:
    figure = measured(env)["frames.lost_ratio"]
    deadline = time.monotonic() + 10
    while supervisor.refused_frames < 250:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The test's clock leaves no time to read the last ones, of which a socket queues a few.
    assert isinstance(figure.value, float)
    assert 0 <= figure.value < 0.1
    assert "found the socket full" not in figure.note
    assert supervisor.frames == {}


def test_without_supervisor_and_tasks_the_rest_is_measured(env: Env) -> None:
    figures = measured(dataclasses.replace(env, tasks=None))
    assert figures["frames.lost_ratio"].passed is None
    assert figures["tasks.lost"].passed is None
    assert figures["rows.lost"].passed
