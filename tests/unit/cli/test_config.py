from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Outrider

GOOD = """
redis_url = "redis://:hunter2@h/0"
[database]
url = "postgresql://bot:hunter2@h/db"
[notify.webhook]
url = "https://hooks.example/hunter2"
[bots.canary]
command = ["true"]
instances = 2
env = { TOKEN = "hunter2", MODE = "test" }
"""
BAD = """
interval = 5
[bots.canary]
entry = "mybots.absent:main"
instances = -1
[bots.other]
command = ["no-such-program"]
needs = ["nobody"]
[[alert]]
name = "mine"
when = "x >"
"""


def test_right_settings_are_said_to_be_right(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text(GOOD)
    said = outrider("config", "check")

    assert said.exit_code == 0
    assert said.stdout == f"{folder}/outrider.toml: all right (1 bots, 2 processes).\n"


def test_no_file_is_all_right_too(outrider: Outrider) -> None:
    said = outrider("config", "check")

    assert said.exit_code == 0
    assert "no outrider.toml found" in said.stdout


def test_every_mistake_is_printed_with_its_line_and_the_exit_code_is_2(
    folder: Path, outrider: Outrider
) -> None:
    path = folder / "outrider.toml"
    path.write_text(BAD)
    said = outrider("config", "check")

    assert said.exit_code == 2
    for line, words in (
        (2, "interval: unknown key. Did you mean interval_s?"),
        (4, "bots.canary.entry = 'mybots.absent:main': module mybots can't be found."),
        (5, "bots.canary.instances = -1"),
        (7, "bots.other.command = 'no-such-program': no such program."),
        (8, "bots.other.needs = 'nobody': no such bot."),
        (11, "alert.0.when"),
    ):
        assert f"{path}:{line}: {words}" in said.stderr


def test_nothing_is_started_or_made_by_a_check(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text(GOOD)
    outrider("config", "check")

    assert [path.name for path in folder.iterdir()] == ["outrider.toml"]


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_settings_are_shown_without_their_secrets(
    arguments: tuple[str, ...], folder: Path, outrider: Outrider
) -> None:
    (folder / "outrider.toml").write_text(GOOD)
    said = outrider("config", "show", *arguments)

    assert said.exit_code == 0
    assert "hunter2" not in said.stdout
    assert "TOKEN" in said.stdout
    assert "interval_s" in said.stdout


def test_settings_as_json_can_be_read(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text(GOOD)
    shown = json.loads(outrider("config", "show", "--json").stdout)

    assert shown["interval_s"] == 10.0
    assert shown["bots"]["canary"]["instances"] == 2
    assert set(shown["bots"]["canary"]["env"]) == {"TOKEN", "MODE"}


def test_the_memory_of_all_series_is_predicted(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text("[retention]\nraw = '4d'\n")
    said = outrider("config", "show", "--series", "1000")
    found = json.loads(outrider("config", "show", "--series", "1000", "--json").stdout)

    predicted = found["predicted_memory"]
    assert predicted["series"] == 1000
    assert predicted["total_bytes"] == sum(predicted["bytes"].values())
    assert "predicted memory of 1,000 series over the retention: " in said.stdout
    assert "5m 20.0 MiB" in said.stdout


def test_without_a_number_series_are_counted_from_the_settings(
    folder: Path, outrider: Outrider
) -> None:
    alone = json.loads(outrider("config", "show", "--json").stdout)["predicted_memory"]["series"]
    (folder / "outrider.toml").write_text(GOOD)

    found = json.loads(outrider("config", "show", "--json").stdout)["predicted_memory"]["series"]
    assert found > alone > 0
