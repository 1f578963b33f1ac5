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

    from outrider.supervisor.logs import Follower

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
@click.argument("bot")
@click.argument("instances", type=click.IntRange(0, 1000))
@click.option("--why", default="", help="recorded with the action")
def scale(bot: str, instances: int, why: str) -> None:
    """Run INSTANCES processes of BOT, until the stack ends or it is scaled again.

    \b
    Example: outrider bots scale canary 3 --why "campaign"
    """
    asked = here.supervisor("scale", bot=bot, instances=instances, who=here.person(), why=why)
    _print(_settled(asked))


@bots.command()
@click.argument("bot")
@click.argument("memory")
@click.option("--why", default="", help="recorded with the action")
def limit(bot: str, memory: str, why: str) -> None:
    """Restart BOT gracefully above MEMORY, such as 300MiB; none takes the limit away.

    \b
    Example: outrider bots limit canary 300MiB
    """
    size = None if memory == "none" else memory
    _print(here.supervisor("limit", bot=bot, memory=size, who=here.person(), why=why))


@bots.command()
@click.argument("bot")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(bot: str, as_json: bool) -> None:
    """Show all that is known of BOT: state and why, last numbers, crashes, last lines, events.

    \b
    Example: outrider bots show canary
    """
    found = here.supervisor("diagnose", bot=bot)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
        return
    from outrider.cli import diagnosis

    for each in found:
        diagnosis.show(each, time.time())


@bots.command()
@click.argument("bot", default="")
@click.option("-n", "--lines", "most", default=30, show_default=True,
              type=click.IntRange(1, 10_000))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def actions(bot: str, most: int, as_json: bool) -> None:
    """Show who gave which orders to the supervisor here, why, and what came of them.

    \b
    Example: outrider bots actions canary
    """
    from outrider.supervisor import audit

    found = audit.read(_logs_dir(), most=most, bot=bot)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
        return
    from outrider.cli import terminal

    rows = [
        (time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at_s"])), entry["what"],
         entry["bot"], entry["who"], entry["peer"], entry["why"], entry["result"])
        for entry in found
    ]  # fmt: skip
    columns = ("at", "what", "bot", "who", "peer", "why", "result")
    terminal.console.print(terminal.table("", columns, rows))


@bots.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-n", "--lines", default=None, type=click.IntRange(0, 10_000),
              help="how many of the last lines; 50 by default, with --since all")  # fmt: skip
@click.option("--since", metavar="DURATION", help="lines of the last 10m, 2h, 90s")
@click.option("-f", "--follow", is_flag=True, help="go on printing what comes")
def logs(names: tuple[str, ...], lines: int | None, since: str | None, follow: bool) -> None:
    """Print what processes wrote. A NAME is an instance, or a part of the stack such as worker.

    \b
    Examples:
      outrider bots logs -f canary ledger
      outrider bots logs --since 10m canary
    """
    from outrider.supervisor import logs as captured

    folder = _logs_dir()
    paths = {name: _log_of(folder, name) for name in names}
    # Opened before the last lines are read, so that none is missed in between.
    followers = {name: captured.Follower(path) for name, path in paths.items() if follow}
    since_s = None if since is None else time.time() - _duration_s(since)
    for name, path in paths.items():
        if since_s is None:
            found = captured.tail(path, 50 if lines is None else lines)
        else:
            found = list(captured.since(path, since_s))
            found = found if lines is None else found[len(found) - lines :]
        for line in found:
            _echo(name, line, several=len(paths) > 1)
    try:
        while followers:
            _follow(followers)
    finally:
        for follower in followers.values():
            follower.close()


def _follow(followers: dict[str, Follower]) -> None:
    """Print what came since the last call; wait a moment if it was nothing."""
    quiet = True
    for name, follower in followers.items():
        for line in follower.lines():
            quiet = False
            _echo(name, line, several=len(followers) > 1)
    if quiet:
        time.sleep(FOLLOW_EVERY_S)


def _echo(name: str, line: str, *, several: bool) -> None:
    from outrider.cli import terminal

    click.echo(f"{name:<14} " * several + terminal.line(line))


def _log_of(folder: Path, name: str) -> Path:
    from outrider.errors import UnknownBot
    from outrider.supervisor import logs as captured

    path = captured.path_of(folder, name)
    if "/" in name or "\0" in name or not path.exists():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.log"))) or "none yet"
        raise UnknownBot(f"no log of {name!r}; there are: {known}.")
    return path


def _logs_dir() -> Path:
    return here.settings().data_dir.resolve() / "logs"


def _duration_s(text: str) -> float:
    from outrider.errors import BadArgument

    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise BadArgument(f"--since: {error}") from None


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
