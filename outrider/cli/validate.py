"""``outrider validate``: measures the running stack and says where it misses its targets."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider.cli import here
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from rich.console import Console

    from outrider.validation.env import Env
    from outrider.validation.figure import Report

EXIT_MISSED = 1
# Narrower, notes would be cut to a word a line; they are in the report, and beside what is missed.
_WIDE = 120
_STYLE = {"passed": "green", "ok": "green", "skipped": "yellow"} | dict.fromkeys(
    ("failed", "missed"), "bold red"
)


@click.command()
@click.option(
    "--phase", "phases", multiple=True, metavar="NAME", help="only this phase; may be given again"
)
@click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
              help="write the report there instead of the data folder")  # fmt: skip
def validate(phases: tuple[str, ...], as_json: bool, output: Path | None) -> None:
    """Measure the running stack against its targets; takes half a minute.

    Phases: baseline, database, cache, processes, monitoring, load. Real work on names of its own
    that are removed afterwards; one small process is started and killed, your bots are left alone.
    Exit code 0: every target met. 1: one was missed. 2: bad input. 3: no stack runs here.

    \b
    Examples:
      outrider validate
      outrider validate --phase cache --phase load
      outrider validate --json --output report.json
    """
    from outrider.validation import report as reports
    from outrider.validation import runner

    names = runner.chosen(phases)
    _refuse_unwritable(output)
    env = _env()
    console = _console(as_json=as_json)
    with console.status("") as status:

        def progress(name: str, state: str, detail: str) -> None:
            if state == "running":
                status.update(f"{name} ...")
            else:
                _line(console, name, state, detail)

        done = runner.run(env, names, progress=progress)
    if output:
        reports.write(output, done)
    path = output or reports.file(env.settings.data_dir, done)
    _keep(env, done)
    if as_json:
        click.echo(json.dumps(reports.plain(done), indent=2))
    else:
        _tables(console, done)
    _outcome(console, done, path)
    sys.exit(0 if done.passed else EXIT_MISSED)


def _env() -> Env:
    from outrider.store import address
    from outrider.validation.env import Env

    settings, client, store = here.opened()
    from outrider.tasks.validate import Probes  # after it is known that there is a stack
    from outrider.workers.app import app

    return Env(settings, address.redis_url(settings), client, store, tasks=Probes(app))


def _keep(env: Env, done: Report) -> None:
    """Keep the report in Redis too, unless that is what went away meanwhile."""
    import redis

    from outrider.validation import report as reports

    try:
        reports.keep(env.redis, done)
    except redis.RedisError as error:
        click.echo(f"outrider: the report is in the file only: Redis is away ({error}).", err=True)


def _refuse_unwritable(output: Path | None) -> None:
    """Say so before half a minute of measuring is lost."""
    if output is None:
        return
    folder = output.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadArgument(
            f"--output {output}: {folder} is no folder that can be written to; make it first."
        )


def _console(*, as_json: bool) -> Console:
    """Return where people read; with --json the standard output is a program's."""
    from rich.console import Console

    from outrider.cli import terminal

    return Console(stderr=True, highlight=False) if as_json else terminal.console


def _line(console: Console, name: str, state: str, detail: str) -> None:
    from rich.text import Text

    from outrider.cli import terminal

    line = Text(f"  {terminal.safe(name):<12}")
    line.append(f"{state:<9}", _STYLE.get(state, ""))
    line.append(terminal.safe(detail), "dim")
    console.print(line, soft_wrap=True)


def _tables(console: Console, done: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    from outrider.cli import terminal
    from outrider.validation import report as reports

    columns = ["figure", "measured", "target", ""]
    columns += ["note"] if console.width >= _WIDE else []
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column != "note")
    for phase in done.phases:
        table.add_row(Text(phase.name, "bold"), "", "", Text(phase.state, _STYLE[phase.state]))
        for row in reports.rows(phase):
            cells = [Text(terminal.safe(cell), _STYLE.get(cell, "")) for cell in row]
            table.add_row(Text("  ") + cells[0], *cells[1 : len(columns)])
    console.print()
    console.print(table)
    for figure in (figure for phase in done.phases for figure in phase.missed):
        said = terminal.safe(reports.in_words(figure))
        console.print(f"  missed: {said}", style="bold red", markup=False, soft_wrap=True)


def _outcome(console: Console, done: Report, path: Path) -> None:
    from outrider.validation import report as reports

    style = "green" if done.passed else "bold red"
    console.print()
    console.print(reports.verdict(done), style=style, markup=False, soft_wrap=True)
    console.print(f"report: {path}", style="dim", markup=False, soft_wrap=True)
