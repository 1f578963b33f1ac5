from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from outrider.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def db(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["db", *arguments])


def test_presets_give_each_value_its_reason_and_judge_the_first_ones() -> None:
    told = json.loads(db("presets", "production", "--json").stdout)

    values = {row["name"]: row for row in told["presets"]["production"]}
    assert values["max_overflow"]["value"] == 0
    assert all(row["reason"] for row in values.values())
    assert {each["name"]: each["most"] for each in told["seed"]}["high_performance"] == 100
    shown = db("presets", "--bots", "8").stdout
    assert "600" in shown
    assert "over" in shown


def test_a_preset_that_is_not_there_is_named() -> None:
    refused = db("presets", "prodution")

    assert (refused.exit_code, "Did you mean production" in refused.output) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [("advise",), ("advise", "--url", "sqlite:///x.db"), ("advise", "--memory", "much"),
     ("advise", "--url", "nonsense"), ("doctor",), ("doctor", "--url", "sqlite:///x.db")],
)  # fmt: skip
def test_what_can_not_be_asked_is_bad_input(arguments: tuple[str, ...]) -> None:
    assert db(*arguments).exit_code == 2


def test_durability_is_not_given_up_without_a_word_for_it() -> None:
    refused = db(
        "advise", "--url", "postgresql://x@127.0.0.1:1/y", "--apply", "synchronous_commit",
        "--role", "log", "--yes",
    )  # fmt: skip

    assert refused.exit_code != 0


def test_nothing_is_changed_without_consent() -> None:
    refused = CliRunner().invoke(
        main,
        ["db", "advise", "--url", "postgresql://x@127.0.0.1:1/y", "--apply", "jit"],
        input="n\n",
    )

    assert (refused.exit_code, "Aborted" in refused.output) == (1, True)
