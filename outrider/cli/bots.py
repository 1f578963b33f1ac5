"""``outrider bots``: what the supervisor here runs, and orders to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from outrider import units
from outrider.cli import here
from outrider.cli.startup import startup

if TYPE_CHECKING:
    from pathlib import Path

FOLLOW_EVERY_S = 0.25
SETTLED_WITHIN_S = 30.0


@click.group(epilog="BOT is a bot's name, one instance's (canary-2), or all.")
def bots() -> None:
    """List, start, stop and restart the bots of this host; read logs, measure starts."""


@bots.command("list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_(as_json: bool) -> None:
    """Show every bot process: state, pid, how long, restarts, why."""
    snapshot = here.supervisor("snapshot")
    found = [entry for entry in snapshot["processes"] if entry["kind"] == "bot"]
    _print(found, as_json=as_json)


@bots.command()
@click.argument("bot")
@click.option("--why", default="", help="recorded with the action")
def start(bot: str, why: str) -> None:
    """Start BOT; one that runs is left alone.

    \b
    Example: outrider bots start canary
    """
    _print(_settled(here.supervisor("start", bot=bot, who=here.person(), why=why)))


@bots.command()
@click.argument("bot")
@click.option("--why", default="", help="recorded with the action")
def stop(bot: str, why: str) -> None:
    """Stop BOT: SIGTERM, its grace period, then SIGKILL for its whole process tree.

    \b
    Example: outrider bots stop canary --why "database migration"
    """
    _print(here.supervisor("stop", bot=bot, who=here.person(), why=why))


@bots.command()
@click.argument("bot")
@click.option("--why", default="", help="recorded with the action")
def restart(bot: str, why: str) -> None:
    """Stop BOT and start it again.

    \b
    Example: outrider bots restart all --why "new token"
    """
    _print(_settled(here.supervisor("restart", bot=bot, who=here.person(), why=why)))


@bots.command()
@click.argument("bot", default="all")
@click.option("--why", default="new code", show_default=True, help="recorded with the action")
def reload(bot: str, why: str) -> None:
    """Restart BOT (all by default) one by one, with the code that is on disk now.

    Each must be ready before the next is touched. The first that is not ends it, with exit code 1:
    the rest goes on with the code it has.

    \b
    Example: outrider bots reload --why "version 2.4"
    """
    from outrider.cli import rolling

    raise SystemExit(rolling.reload(bot, why))


@bots.command()
@click.argument("name")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(0, 10_000))
@click.option("-f", "--follow", is_flag=True, help="go on printing what comes")
def logs(name: str, lines: int, follow: bool) -> None:
    """Print what a process wrote. NAME is an instance, or a part of the stack such as worker.

    \b
    Example: outrider bots logs -f canary
    """
    from outrider.cli import terminal
    from outrider.errors import UnknownBot
    from outrider.supervisor import logs as captured

    folder = here.settings().data_dir.resolve() / "logs"
    path = captured.path_of(folder, name)
    if "/" in name or not path.exists():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.log"))) or "none yet"
        raise UnknownBot(f"no log of {name!r}; there are: {known}.")
    for line in captured.tail(path, lines):
        click.echo(terminal.line(line))
    if follow:
        _follow(path)


bots.add_command(startup)


def _settled(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wait until the processes that were asked to start are ready, or are not going to be."""
    names = {bot["name"] for bot in asked}
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        found = [p for p in here.supervisor("snapshot")["processes"] if p["name"] in names]
        if time.monotonic() > deadline or all(p["state"] != "starting" for p in found):
            return found
        time.sleep(FOLLOW_EVERY_S)


def _follow(path: Path) -> None:
    from outrider.cli import terminal

    with path.open("r", encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        while True:
            line = file.readline()
            if line:
                click.echo(terminal.line(line.rstrip("\n")), nl=line.endswith("\n"))
                continue
            if path.stat().st_size < file.tell():  # rotated
                file.seek(0)
            time.sleep(FOLLOW_EVERY_S)


def _print(found: list[dict[str, Any]], *, as_json: bool = False) -> None:
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
        return
    from outrider.cli import terminal

    now_s = time.time()
    rows = [
        (bot["name"], bot["state"], bot["pid"] or "",
         units.show_duration(max(0.0, now_s - bot["since_s"])),
         bot["restarts"], bot["crashes"], bot["reason"])
        for bot in found
    ]  # fmt: skip
    columns = ("bot", "state", "pid", "for", "restarts", "crashes", "why")
    terminal.console.print(terminal.table("", columns, rows))
