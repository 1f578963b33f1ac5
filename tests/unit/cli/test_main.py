from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from outrider import errors
from outrider.cli import main as cli
from outrider.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli.conftest import Outrider

CONTEXT = click.Context(cli.main)


def commands(group: click.Group = cli.main, *above: str) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(CONTEXT):
        yield (*above, name)
        found = group.get_command(CONTEXT, name)
        if isinstance(found, click.Group):
            yield from commands(found, *above, name)


def test_help_lists_every_command_and_its_purpose(outrider: Outrider) -> None:
    said = outrider("--help")

    assert said.exit_code == 0
    for name, (_, text) in cli._COMMANDS.items():
        assert f"  {name} " in said.stdout
        assert " ".join(text.split()[:3]) in said.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import json, sys; from outrider.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print('modules', json.dumps(sorted(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(said.stdout.rpartition("modules ")[2]))

    assert "outrider.cli.main" in loaded
    assert not loaded & {"celery", "redis", "pydantic", "numpy", "rich", "sqlalchemy", "psutil"}


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...], outrider: Outrider) -> None:
    said = outrider(*command, "--help")

    assert said.exit_code == 0
    assert f"Usage: main {' '.join(command)}" in said.stdout
    assert len(said.stdout.splitlines()) > 4


def test_every_name_in_the_table_leads_to_a_command() -> None:
    assert set(cli._COMMANDS) == set(cli.main.list_commands(CONTEXT))
    assert all(cli.main.get_command(CONTEXT, name) for name in cli._COMMANDS)


def test_the_version_is_told(outrider: Outrider) -> None:
    from outrider import __version__

    assert __version__ in outrider("--version").stdout


@pytest.mark.parametrize(
    "arguments", [("dance",), ("bots", "dance"), ("--dance",), ("bots", "stop")]
)
def test_what_is_no_command_is_refused(arguments: tuple[str, ...], outrider: Outrider) -> None:
    said = outrider(*arguments)

    assert said.exit_code == 2
    assert "Error" in said.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadArgument("words"), 2),
        (errors.UnknownBot("words"), 2),
        (errors.RedisRefused("words"), 2),
        (errors.SettingsError([Problem("f", "k", None, "words", "")]), 2),
        (errors.RedisUnavailable("words"), 3),
        (errors.SupervisorUnavailable("words"), 3),
    ],
)
def test_an_error_is_one_clear_line_and_an_exit_code(
    error: errors.OutriderError, code: int, outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: fails)
    said = outrider("status")

    assert said.exit_code == code
    assert said.stderr.startswith("outrider: ")
    assert "words" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("bots", "list"),
        ("bots", "stop", "a"),
        ("alerts", "list"),
        ("run", "x"),
        ("validate",),
    ],
    ids=" ".join,
)
def test_where_nothing_runs_the_exit_code_says_so(
    command: tuple[str, ...], outrider: Outrider
) -> None:
    said = outrider(*command)

    assert said.exit_code == 3
    assert "outrider up" in said.stderr


@pytest.mark.parametrize(
    ("command", "variable"),
    [("flower", "OUTRIDER_FLOWER_PASSWORD"), ("dashboard", "OUTRIDER_DASHBOARD_TOKEN")],
)
def test_pages_are_not_served_without_a_password(
    command: str, variable: str, outrider: Outrider
) -> None:
    said = outrider(command)

    assert said.exit_code == 2
    assert f"set {variable}" in said.stderr


def test_bytes_that_are_no_text_are_refused_before_a_command_meets_them() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "outrider", "report", "host", b"al\xffpha"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert refused.returncode == cli.EXIT_BAD_INPUT
    assert "'al\\udcffpha' is not UTF-8." in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (errors.BadArgument("no host a\nb"), ["outrider: no host a\N{REPLACEMENT CHARACTER}b"]),
        (errors.Mistakes(["first", "second"]), ["outrider: first", "second"]),
    ],
)
def test_only_mistakes_of_the_owner_are_printed_in_lines(
    error: errors.OutriderError, lines: list[str], outrider: Outrider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail() -> None:
        raise error

    monkeypatch.setattr("outrider.cli.here.settings", fail)

    assert outrider("alerts", "list", "--rules").stderr.splitlines() == lines
