from __future__ import annotations

import dataclasses
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import BadArgument
from outrider.settings import Settings
from outrider.validation import runner
from outrider.validation.phases import database

if TYPE_CHECKING:
    from pathlib import Path

    from outrider.validation.env import Env
    from outrider.validation.figure import Figure

TIMED = (
    "connect.p50_s", "checkout.p50_s", "checkout.p99_s", "query.p50_s", "query.p99_s",
    "transaction.p50_s", "transaction.p99_s",
)  # fmt: skip


def measured(env: Env) -> dict[str, Figure]:
    return {figure.name.removeprefix("database."): figure for figure in database.run(env)}


def with_settings(env: Env, **given: Any) -> Env:
    settings = Settings.model_validate({"host": "one", "data_dir": env.settings.data_dir, **given})
    return dataclasses.replace(env, settings=settings)


def test_without_a_database_a_file_of_its_own_is_measured_and_removed(env: Env) -> None:
    figures = measured(env)
    assert "SQLite file of its own" in figures["server"].note
    for name in TIMED:
        value = figures[name].value
        assert isinstance(value, float)
        assert 0 < value < 10
    assert figures["transactions.lost"].value == 0
    assert figures["transactions.lost"].note == "200 of 200 were there afterwards"
    assert list(env.settings.data_dir.glob("validation-*")) == []


def test_the_fleets_database_is_left_as_it_was(env: Env, tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (id INTEGER)")
    connection.close()
    figures = measured(with_settings(env, database={"url": f"sqlite:///{path}"}))
    assert str(figures["server"].value).startswith("sqlite ")
    assert "temporary table" in figures["transaction.p50_s"].note
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert names == [("users",)]


def test_the_pool_plan_is_held_against_the_limit(env: Env) -> None:
    fleet = {"canary": {"entry": "m:f", "instances": 2}}
    figure = measured(with_settings(env, bots=fleet, database={"max_connections": 40}))[
        "plan.used_ratio"
    ]
    assert figure.passed
    assert isinstance(figure.value, float)
    assert 0 < figure.value <= 1
    assert "of 32 connections" in figure.note


def test_a_fleet_that_does_not_fit_misses_the_target(env: Env) -> None:
    fleet = {"canary": {"entry": "m:f", "instances": 60}}
    figure = measured(with_settings(env, bots=fleet, database={"max_connections": 40}))[
        "plan.used_ratio"
    ]
    assert figure.passed is False
    assert isinstance(figure.value, float)
    assert figure.value > 1


def test_without_a_limit_there_is_no_plan_to_judge(env: Env) -> None:
    figure = measured(env)["plan.used_ratio"]
    assert (figure.value, figure.passed) == (None, None)


def test_a_database_that_breaks_off_is_told_in_one_line_and_keeps_what_was_measured(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_write", lambda held, *_: held.exec_driver_sql("SELECT absent"))
    phase = runner.run(env, ["database"]).phases[0]
    assert phase.state == "failed"
    assert "no such column: absent); see its log." in phase.reason
    assert "\n" not in phase.reason
    assert "database.query.p99_s" in [figure.name for figure in phase.figures]
    assert list(env.settings.data_dir.glob("validation-*")) == []


def test_a_database_that_can_not_be_used_is_refused_and_leaves_nothing(env: Env) -> None:
    with pytest.raises(BadArgument, match="no database"):
        measured(with_settings(env, database={"url": "nonsense://somewhere/x"}))
