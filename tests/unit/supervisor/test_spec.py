from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import UnknownBot
from outrider.settings import Settings
from outrider.supervisor import spec as specs
from outrider.supervisor.spec import ProcessSpec, RestartPolicy

if TYPE_CHECKING:
    from pathlib import Path


def of(base: Path, bot: dict[str, Any], count: int | None = None) -> list[ProcessSpec]:
    settings = Settings.model_validate({"bots": {"canary": bot}})
    return specs.of_bot(
        "canary", settings, base=base, count=count, env_of=lambda name: {"FROM": name, "A": "base"}
    )


def test_an_entry_runs_under_our_own_module_and_says_when_it_is_ready(tmp_path: Path) -> None:
    (spec,) = of(tmp_path, {"entry": "mybots.canary:main"})

    assert spec.argv == (sys.executable, "-m", "outrider.supervisor.entry", "mybots.canary:main")
    assert (spec.readiness, spec.kind, spec.bot, spec.cwd) == (
        "sdk",
        "bot",
        "canary",
        str(tmp_path),
    )


def test_a_command_runs_as_it_is_and_is_ready_when_alive(tmp_path: Path) -> None:
    (spec,) = of(tmp_path, {"command": ["sh", "-c", "x"], "cwd": "deep"})

    assert spec.argv == ("sh", "-c", "x")
    assert (spec.readiness, spec.cwd) == ("alive", str(tmp_path / "deep"))


def test_what_the_settings_say_is_in_the_description(tmp_path: Path) -> None:
    (spec,) = of(
        tmp_path,
        {
            "command": ["x"], "readiness": "sdk", "ready_timeout_s": "5s", "grace_s": 1,
            "restart": {"strategy": "on-failure", "backoff_s": [1, 2], "intensity": "3/2m"},
            "limits": {"memory": "300MiB"}, "cwd": "/elsewhere",
        },
    )  # fmt: skip

    assert (spec.readiness, spec.ready_timeout_s, spec.grace_s) == ("sdk", 5.0, 1.0)
    assert spec.restart == RestartPolicy("on-failure", (1.0, 2.0), 3, 120.0, jitter=0.2)
    assert spec.memory_limit_bytes == 300 << 20
    assert spec.cwd == "/elsewhere"


def test_each_instance_knows_its_own_name(tmp_path: Path) -> None:
    bot = {"entry": "m:f", "instances": 2, "env": {"A": "own", "OUTRIDER_BOT": "liar"}}
    found = of(tmp_path, bot)

    assert [spec.name for spec in found] == ["canary", "canary-2"]
    assert [dict(spec.env) for spec in found] == [
        {"FROM": "canary", "A": "own", "OUTRIDER_BOT": name} for name in ("canary", "canary-2")
    ]
    assert {spec.bot for spec in found} == {"canary"}
    assert [spec.name for spec in of(tmp_path, bot, 1)] == ["canary"]
    assert of(tmp_path, bot, 0) == []


def test_a_bot_that_is_not_declared_is_refused_with_those_that_are(tmp_path: Path) -> None:
    settings = Settings.model_validate({"bots": {"canary": {"entry": "m:f"}}})
    with pytest.raises(UnknownBot, match="canary"):
        specs.of_bot("nobody", settings, base=tmp_path, env_of=lambda _: {})


def test_the_whole_fleet_is_described(tmp_path: Path) -> None:
    bots = {name: {"entry": "m:f", "instances": n} for name, n in (("a", 2), ("b", 0), ("c", 1))}
    found = specs.of_fleet(
        Settings.model_validate({"bots": bots}), base=tmp_path, env_of=lambda _: {}
    )

    assert [spec.name for spec in found] == ["a", "a-2", "c"]


def test_a_process_gets_our_environment_with_its_own_on_top(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINE", "1")
    monkeypatch.setenv("BOTH", "ours")
    env = specs.environment(ProcessSpec("a", ("x",), env={"BOTH": "its own"}))

    assert (env["MINE"], env["BOTH"], env["PYTHONUNBUFFERED"]) == ("1", "its own", "1")
