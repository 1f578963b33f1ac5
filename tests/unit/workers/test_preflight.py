from __future__ import annotations

import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from outrider.errors import SettingsError
from outrider.workers import preflight

if TYPE_CHECKING:
    from pathlib import Path


def problems(folder: Path, text: str) -> list[tuple[int | None, str, str]]:
    file = folder / "outrider.toml"
    file.write_text(dedent(text))
    with pytest.raises(SettingsError) as caught:
        preflight.load(file)
    return [(found.line, found.key, str(found)) for found in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('a check must not run this')\n")
    (package / "bot.py").write_text("raise RuntimeError('nor this')\ndef main(): ...\n")
    (package / "broken.py").write_text("def main(:\n")
    return tmp_path


def test_a_whole_file_passes_without_running_a_bot(folder: Path) -> None:
    (folder / "outrider.toml").write_text('[bots.a]\nentry = "mine.bot:main"\n')

    settings, path = preflight.load(folder / "outrider.toml")

    assert list(settings.bots) == ["a"]
    assert path == folder / "outrider.toml"
    assert "mine" not in sys.modules


def test_all_mistakes_are_reported_together_with_their_lines(folder: Path) -> None:
    found = problems(
        folder,
        """\
        intervall_s = 10
        interval_s = "often"

        [bots.a]
        entry = "mine.nowhere:main"
        [bots.b]
        entry = "mine.bot:run"
        [bots.c]
        command = ["no-such-program-here"]
        instances = -1
        [[alert]]
        name = "x"
        when = "host.cpu.used_ratio >> 0.9"
        [schedule.colect]
        every_s = 5
        """,
    )

    assert {
        (1, "intervall_s"), (2, "interval_s"), (5, "bots.a.entry"), (7, "bots.b.entry"),
        (9, "bots.c.command"), (10, "bots.c.instances"), (13, "alert.0.when"),
    } == {(line, key) for line, key, _ in found}  # fmt: skip
    texts = "\n".join(text for *_, text in found)
    assert "Did you mean interval_s?" in texts
    assert "module mine.nowhere can't be found" in texts
    assert "has no function run" in texts
    assert "column 21" in texts or "column 22" in texts


def test_an_unknown_beat_entry_is_named(folder: Path) -> None:
    found = problems(folder, "[schedule.colect]\nevery_s = 5\n")

    assert [(line, key) for line, key, _ in found] == [(None, "schedule.colect")]


def test_a_bot_declared_twice_is_named_with_its_line(folder: Path) -> None:
    found = problems(
        folder,
        """\
        [bots.a]
        entry = "mine.bot:main"
        [bots.a]
        entry = "mine.bot:main"
        """,
    )

    assert found[0][0] == 3
    assert "declared twice" in found[0][2]


def test_a_bot_that_does_not_parse_is_named(folder: Path) -> None:
    found = problems(folder, '[bots.a]\nentry = "mine.broken:main"\n')

    assert "does not parse: line 1" in found[0][2]


def test_limits_beyond_the_machine_are_refused(folder: Path) -> None:
    found = problems(
        folder,
        '[bots.a]\nentry = "mine.bot:main"\ninstances = 1000\nlimits = { memory = "1TiB" }\n',
    )

    assert "the memory limits add up to" in found[0][2]


def test_a_missing_folder_is_named(folder: Path) -> None:
    found = problems(folder, '[bots.a]\nentry = "mine.bot:main"\ncwd = "away"\n')

    assert [(line, key) for line, key, _ in found] == [(3, "bots.a.cwd")]


def test_objectives_are_checked_with_their_lines(folder: Path) -> None:
    path = folder / "outrider.toml"
    path.write_text(
        '[[slo]]\nname = "fast"\nindicator = "quick"\nobjective = 0.9\n'
        '[[slo]]\nname = "Fast!"\nindicator = "alive"\nobjective = 0.9\n'
        '[[slo]]\nname = "?"\nindicator = "alive"\nobjective = 0.9\n'
    )

    with pytest.raises(SettingsError) as error:
        preflight.load(path)

    said = str(error.value)
    for words in (":3: slo.0.indicator", "no such indicator", ":6: slo.1.name", "series of another",
                  ":10: slo.2.name", "no letter or digit"):  # fmt: skip
        assert words in said
