"""What commands print: progress lines and tables, plain when nobody watches.

Names and texts from outside may hold control characters or markup; they are shown escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

console = Console(highlight=False)

STATE_STYLE = {
    "ready": "green", "running": "green", "ok": "green", "healthy": "green",
    "starting": "yellow", "backoff": "yellow", "warning": "yellow", "stopping": "yellow",
    "pending": "yellow", "stopped": "dim", "failed": "bold red", "critical": "bold red",
    "firing": "bold red", "down": "bold red",
}  # fmt: skip


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def safe(value: Any) -> str:
    """Return text that can't steer a terminal.

    >>> safe("a\\x1b[2Jb")
    'a\ufffd[2Jb'
    """
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )


def line(text: str) -> str:
    """Return a line of somebody's output that can't steer a terminal: colours go, the rest shows.

    >>> line("\\x1b[31mred\\x1b[0m\\tand \\x1b[2J")
    'red     and \ufffd[2J'
    """
    return safe(_COLOUR.sub("", text).expandtabs())


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
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(Text(safe(cell), STATE_STYLE.get(str(cell), "")) for cell in row))
    return made
