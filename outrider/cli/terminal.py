"""What commands print: progress lines and tables, plain when nobody watches.

Names and texts from outside may hold control characters or markup; they are shown escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from outrider import outside

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

console = Console(highlight=False)

STATE_STYLE = {
    "ready": "green", "running": "green", "ok": "green", "healthy": "green",
    "starting": "yellow", "backoff": "yellow", "warning": "yellow", "stopping": "yellow",
    "pending": "yellow", "stopped": "dim", "failed": "bold red", "critical": "bold red",
    "firing": "bold red", "down": "bold red",
}  # fmt: skip


_LONGEST_LINE = 20_000
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def safe(value: Any) -> str:
    """Return text that can't steer a terminal, on one line that has an end.

    >>> safe("a\\x1b[2Jb")
    'a\ufffd[2Jb'
    """
    return outside.clean(value)


def line(text: str) -> str:
    """Return a line of somebody's output that can't steer a terminal: colours go, the rest shows.

    >>> line("\\x1b[31mred\\x1b[0m\\tand \\x1b[2J")
    'red     and \ufffd[2J'
    """
    return outside.clean(_COLOUR.sub("", text[:_LONGEST_LINE]).expandtabs(), _LONGEST_LINE)


def say(*lines: str, err: bool = False) -> None:
    """Print lines; whatever names and texts stand in them, they stay these lines.

    For what is read and copied, such as SQL: a line is not wrapped, and may be long.
    """
    for each in lines:
        click.echo(outside.clean(each, _LONGEST_LINE), err=err)


def progress(name: str, state: str, detail: str) -> None:
    """Print one line on how a part's start goes."""
    said = Text(f"  {safe(name):<14}")
    said.append(f"{state:<9}", STATE_STYLE.get(state, ""))
    said.append(safe(detail), "dim")
    if state != "starting":
        console.print(said)


def warn(text: str) -> None:
    """Print one line that somebody should see."""
    console.print(f"  {safe(text)}", style="yellow", markup=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; cells that are states get their colour."""
    named = Text(safe(title)) if title else None  # a str would be read as markup
    made = Table(title=named, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(Text(safe(cell), STATE_STYLE.get(str(cell), "")) for cell in row))
    return made
