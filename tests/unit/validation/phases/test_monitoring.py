from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import uvicorn

from outrider.store import keys
from outrider.validation.phases import monitoring
from outrider.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.validation.env import Env
    from outrider.validation.figure import Figure
    from tests.unit.validation.conftest import Stack, TasksInHand, Time

TOKEN = "a-token-that-nobody-guesses"


def measured(env: Env) -> dict[str, Figure]:
    return {figure.name.removeprefix("monitoring."): figure for figure in monitoring.run(env)}


@pytest.fixture
def dashboard(env: Env) -> Iterator[str]:
    """The real dashboard on a free port."""
    app = create_app(redis_url=env.redis_url, interval_s=10.0, token=TOKEN)
    server = uvicorn.Server(
        uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_level="warning")
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


def test_a_stack_at_work_is_fresh(env: Env, stack: Stack) -> None:
    stack.past(3)
    figures = measured(env)
    expected = {"row_age_ticks": 0.3, "fleet_row_age_ticks": 0.3, "report_age_ticks": 0.3}
    assert expected == {name: pytest.approx(figures[name].value, abs=1e-6) for name in expected}
    assert (
        figures["evaluation_behind_ticks"].value, figures["heartbeat_age_s"].value,
    ) == (0, 0.0)  # fmt: skip
    assert all(figure.passed is not False for figure in figures.values())


def test_a_stack_that_stopped_goes_stale(env: Env, stack: Stack, time: Time) -> None:
    stack.past(3)
    stack.stopped = True
    time.at_s += 60
    figures = measured(env)
    for name in (
        "row_age_ticks", "fleet_row_age_ticks", "report_age_ticks", "heartbeat_age_s",
    ):  # fmt: skip
        assert figures[name].passed is False


def test_a_row_from_the_future_is_not_fresh(env: Env, stack: Stack, time: Time) -> None:
    stack.past(1)
    time.at_s -= 3600
    figures = measured(env)
    for name in ("row_age_ticks", "fleet_row_age_ticks", "report_age_ticks"):
        assert (figures[name].value, figures[name].passed) == (None, False)
        assert "in the future" in figures[name].note


def test_a_stack_that_never_worked_misses_every_target_of_freshness(env: Env) -> None:
    figures = measured(env)
    for name in (
        "row_age_ticks", "fleet_row_age_ticks", "report_age_ticks", "heartbeat_age_s",
        "evaluation_behind_ticks",
    ):  # fmt: skip
        assert (figures[name].value, figures[name].passed) == (None, False)


def test_alerts_that_are_judged_on_old_rows_are_seen(env: Env, stack: Stack, time: Time) -> None:
    stack.past(1)
    time.at_s += 20
    env.store.append("one", int(time.at_s // 10), {"host.load.1m": 1.0})
    figure = measured(env)["evaluation_behind_ticks"]
    assert (figure.value, figure.passed) == (2, False)


def test_a_round_trip_is_from_sending_to_the_result(
    env: Env, stack: Stack, tasks: TasksInHand
) -> None:
    stack.past(1)
    tasks.after_s = 0.05
    figures = measured(env)
    assert pytest.approx(figures["round_trip.p50_s"].value, abs=0.005) == 0.05
    assert figures["round_trip.max_s"].passed
    assert list(tasks.sent_s) == tasks.forgotten


def test_when_no_worker_is_free_the_round_trip_gives_up_and_fails(
    env: Env, stack: Stack, tasks: TasksInHand, time: Time
) -> None:
    stack.past(1)
    tasks.lose = lambda _number: True
    before_s = time.now()
    figures = measured(env)
    for name in ("round_trip.p50_s", "round_trip.max_s"):
        assert (figures[name].value, figures[name].passed) == (None, False)
        assert "no worker answered within 5 s" in figures[name].note
    assert 1 == len(tasks.sent_s) == len(tasks.forgotten)
    assert time.now() - before_s < 6


def test_a_task_that_fails_is_no_round_trip(env: Env, stack: Stack, tasks: TasksInHand) -> None:
    stack.past(1)
    tasks.fail = lambda number: number == 3
    figure = measured(env)["round_trip.p50_s"]
    assert (
        figure.value, figure.passed, figure.note,
    ) == (None, False, "the task failed; see worker.log")  # fmt: skip


def test_dead_letters_and_what_waits_to_be_told_are_counted(
    env: Env, stack: Stack, time: Time
) -> None:
    stack.past(1)
    env.redis.lpush(keys.DEAD, "{}")
    env.redis.hset(keys.OUTBOX, "x", json.dumps({"id": "x", "at_s": time.now() - 30}))
    figures = measured(env)
    assert (figures["dead_letters"].value, figures["dead_letters"].passed) == (1, False)
    assert (figures["outbox"].value, figures["outbox"].note) == (1, "the oldest for 30 s")


def test_a_stack_without_a_dashboard_is_not_blamed_for_it(env: Env, stack: Stack) -> None:
    stack.past(1)
    stack.wrote(dashboard_url="", started_s=0.0)
    figures = measured(env)
    assert figures["healthz_status"].passed is None
    assert figures["metrics_samples"].note == "no dashboard was started with this stack"


def test_a_dashboard_that_does_not_answer_misses_its_targets(env: Env, stack: Stack) -> None:
    stack.past(1)
    stack.wrote(dashboard_url="http://127.0.0.1:1", dashboard_token=TOKEN)
    figures = measured(env)
    for name in ("healthz_status", "readyz_status", "dashboard_s", "metrics_samples"):
        assert (figures[name].value, figures[name].passed) == (None, False)
    assert "127.0.0.1:1/healthz" in figures["healthz_status"].note


def test_the_dashboard_is_asked_and_its_metrics_are_parsed(
    env: Env, stack: Stack, dashboard: str
) -> None:
    stack.past(1)
    stack.wrote(dashboard_url=dashboard, dashboard_token=TOKEN)
    figures = measured(env)
    assert figures["healthz_status"].value == 200
    # The rows are of another time than the dashboard's clock, and it says so.
    assert figures["readyz_status"].value == 503
    assert "outrider up" in figures["readyz_status"].note
    samples = figures["metrics_samples"].value
    assert isinstance(samples, int | float)
    assert samples >= 1


def test_metrics_behind_another_token_are_a_miss(env: Env, stack: Stack, dashboard: str) -> None:
    stack.past(1)
    stack.wrote(dashboard_url=dashboard, dashboard_token="another")
    figure = measured(env)["metrics_samples"]
    assert (figure.value, figure.passed) == (None, False)
    assert "401" in figure.note
