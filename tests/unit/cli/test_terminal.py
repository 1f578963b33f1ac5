from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from outrider.cli import terminal


@given(st.text())
def test_nothing_that_is_shown_can_steer_a_terminal(text: str) -> None:
    assert terminal.safe(text).isprintable()
    assert terminal.line(text).isprintable()
    assert len(terminal.safe(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("a\tb", "a       b"),
        ("\x1b]0;title\x07", "\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}"),
        ("\x1b[2J", "\N{REPLACEMENT CHARACTER}[2J"),
        ("a\rb", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_a_line_of_a_log_keeps_its_words_and_loses_its_colours(text: str, shown: str) -> None:
    assert shown == terminal.line(text)


def test_cells_are_shown_as_they_are_whatever_they_look_like() -> None:
    table = terminal.table("", ("a", "b"), [("[bold]x[/]", "ready"), ("\x1b[2J", 5)])
    with terminal.console.capture() as capture:
        terminal.console.print(table)

    assert "[bold]x[/]" in capture.get()
    assert "\x1b[2J" not in capture.get()


def test_a_state_has_its_colour() -> None:
    table = terminal.table("", ("state",), [("ready",), ("unheard of",)])
    cells = list(table.columns[0].cells)

    assert [cell.style for cell in cells if isinstance(cell, Text)] == ["green", ""]


def test_progress_is_a_line_once_there_is_something_to_say() -> None:
    with terminal.console.capture() as capture:
        terminal.progress("worker", "starting", "")
        terminal.progress("worker", "ready", "1.0 s\x1b[2J")

    assert capture.get().split() == ["worker", "ready", "1.0", "s\N{REPLACEMENT CHARACTER}[2J"]


def test_what_is_said_stays_on_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("CREATE INDEX a\nDROP TABLE b", "", "x" * 100_000)
    first, second, third = capsys.readouterr().out.splitlines()

    assert first == "CREATE INDEX a\N{REPLACEMENT CHARACTER}DROP TABLE b"
    assert second == ""
    assert third.endswith("x…")
    assert len(third) < 25_000


def test_spaces_of_another_width_are_spaces() -> None:
    assert terminal.safe("1.5\N{NO-BREAK SPACE}ms") == "1.5 ms"
