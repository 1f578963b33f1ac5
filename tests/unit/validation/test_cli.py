from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from outrider.cli import terminal
from outrider.cli import validate as command
from outrider.cli.main import main
from outrider.store import keys
from outrider.validation import report, runner

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from outrider.validation.env import Env
    from tests.unit.validation.conftest import Stack


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["validate", *arguments])


@pytest.fixture
def here(env: Env, monkeypatch: pytest.MonkeyPatch) -> Env:
    monkeypatch.setattr(command, "_env", lambda: env)
    return env


def test_an_unknown_phase_is_bad_input_and_the_known_ones_are_named() -> None:
    result = call("--phase", "cash")
    assert result.exit_code == 2
    assert "'cash'; known: baseline, database, cache" in result.stderr


def test_a_folder_without_a_stack_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("--phase", "cache")
    assert result.exit_code == 3
    assert "outrider up" in result.stderr


def test_an_output_that_can_not_be_written_is_refused_before_anything_is_measured(
    here: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "run", lambda *_a, **_k: pytest.fail("it was measured"))
    result = call("--output", str(tmp_path / "nowhere" / "report.json"))
    assert result.exit_code == 2
    assert "make it first" in result.stderr


def test_met_targets_exit_0_with_a_table_a_file_and_a_report_in_redis(
    here: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    result = call("--phase", "load")
    assert result.exit_code == 0, result.output
    assert "validation passed" in result.stdout
    assert "rows.lost" in result.stdout
    path = report.path_of(here.settings.data_dir, here.run)
    assert report.parse(json.loads(path.read_text())) == report.newest(here.redis)


def test_a_missed_target_exits_1_and_is_told_in_words(here: Env) -> None:
    result = call("--phase", "monitoring")
    assert result.exit_code == 1
    assert "missed: monitoring.row_age_ticks = not measured, target <= 2 ticks" in result.stdout
    assert "validation failed in monitoring" in result.stdout


def test_json_is_all_that_the_standard_output_holds(here: Env, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    result = call("--json", "--phase", "monitoring", "--output", str(output))
    printed: Any = json.loads(result.stdout)
    assert result.exit_code == 1
    assert printed == json.loads(output.read_text())
    assert [phase["name"] for phase in printed["phases"]] == ["monitoring"]
    assert "validation failed" in result.stderr


def test_a_redis_that_left_meanwhile_does_not_take_the_report_along(
    here: Env, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    def away(*_: Any) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(report, "keep", away)
    result = call("--phase", "monitoring")
    assert result.exit_code == 1
    assert "in the file only" in result.stderr
    assert report.path_of(here.settings.data_dir, here.run).exists()
    assert not here.redis.exists(keys.VALIDATION_NEWEST)


def test_names_from_outside_can_not_steer_the_terminal(
    here: Env, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.past(1)
    stored = {"at_s": here.clock.now(), "verdict": "\x1b[2Jgone"}
    here.redis.set(keys.report("one"), json.dumps(stored))
    monkeypatch.setattr(terminal, "console", Console(width=200))
    result = call("--phase", "monitoring")
    assert "gone" in result.stdout
    assert "\x1b[2J" not in result.stdout
