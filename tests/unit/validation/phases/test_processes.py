from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from outrider.errors import OutriderError
from outrider.validation import probe
from outrider.validation.phases import processes

if TYPE_CHECKING:
    from outrider.supervisor.supervisor import Supervisor
    from outrider.validation.env import Env
    from outrider.validation.figure import Figure


def measured(env: Env) -> dict[str, Figure]:
    return {figure.name.removeprefix("processes."): figure for figure in processes.run(env)}


def test_a_process_of_its_own_is_started_killed_and_stopped(env: Env) -> None:
    figures = measured(env)
    for name in ("start_to_ready_s", "kill_to_ready_s", "kill_to_noticed_s", "stop_s"):
        value = figures[name].value
        assert isinstance(value, float)
        assert 0 < value < 15
    noticed, again = figures["kill_to_noticed_s"].value, figures["kill_to_ready_s"].value
    assert isinstance(noticed, float)
    assert isinstance(again, float)
    assert noticed < again
    assert figures["log_lines_ratio"].note == "4 of 4 lines captured"
    assert figures["left_running"].value == 0


def test_the_folder_of_the_drill_is_removed(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="or-") as folder:  # a socket's path must be short
        monkeypatch.setattr(tempfile, "tempdir", folder)
        measured(env)
        monkeypatch.undo()
        assert list(Path(folder).iterdir()) == []


def test_a_process_that_does_not_come_up_is_told_with_its_last_words(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "__name__", "no_such_module")
    monkeypatch.setattr(processes, "READY_WITHIN_S", 1.5)
    with pytest.raises(OutriderError, match="no_such_module"):
        measured(env)


def test_supervised_processes_are_counted_and_left_alone(env: Env, supervisor: Supervisor) -> None:
    pid = supervisor.processes["worker"].pid
    figures = measured(env)
    assert (figures["ready_ratio"].value, figures["ready_ratio"].note) == (1.0, "1 of 1")
    assert (figures["failed"].value, figures["restarts"].value) == (0, 0)
    assert pid == supervisor.processes["worker"].pid
    assert list(supervisor.processes) == ["worker"]


def test_a_process_that_is_not_ready_is_named(env: Env, supervisor: Supervisor) -> None:
    supervisor.processes["worker"].state = "failed"
    figures = measured(env)
    assert figures["ready_ratio"].passed is False
    assert "not ready: worker" in figures["ready_ratio"].note
    assert (figures["failed"].value, figures["failed"].note) == (1, "worker")
    supervisor.processes["worker"].state = "ready"


def test_what_was_stopped_on_purpose_is_not_missed(env: Env, supervisor: Supervisor) -> None:
    process = supervisor.processes["worker"]
    supervisor.add(process.spec.__class__(name="idle", argv=(sys.executable, "-c", "")))
    figure = measured(env)["ready_ratio"]
    assert (figure.value, figure.passed) == (1.0, True)
    assert figure.note == "1 of 1; 1 stopped"


def test_without_a_supervisor_only_the_drill_is_judged(env: Env) -> None:
    figures = measured(env)
    assert figures["ready_ratio"].passed is None
    assert "outrider up" in figures["ready_ratio"].note
    assert figures["log_lines_ratio"].passed


def test_the_drill_reports_to_its_own_supervisor_whatever_the_environment_says(
    env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_BOT", "canary")
    monkeypatch.setenv("OUTRIDER_TELEMETRY", str(tmp_path / "elsewhere.sock"))
    assert measured(env)["start_to_ready_s"].passed
    assert os.environ["OUTRIDER_BOT"] == "canary"
