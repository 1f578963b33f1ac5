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

    from outrider.analysis.sizing import Need
    from outrider.samples import Window
    from outrider.supervisor.logs import Follower

FOLLOW_EVERY_S = 0.25
SETTLED_WITHIN_S = 30.0


@click.group(epilog="BOT is a bot's name, one instance's (canary-2), or all.")
def bots() -> None:
    """List, start, stop, scale and restart bots of this host; read logs, measure starts."""


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
@click.argument("bot", required=False)
@click.argument("instances", required=False, type=click.IntRange(0, 1000))
@click.option("--why", default="", help="recorded with the action")
@click.option("--explain", is_flag=True, help="say what scaling by load decided last, and why")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def scale(bot: str | None, instances: int | None, why: str, explain: bool, as_json: bool) -> None:
    """Run INSTANCES processes of BOT, or say what scaling by load did or would do.

    A bot with a table scale in its settings follows its load, and soon undoes another number.

    \b
    Examples: outrider bots scale canary 3 --why "busy evening"
              outrider bots scale --explain
    """
    if explain:
        _explain(bot, as_json=as_json)
        return
    if bot is None or instances is None:
        raise click.UsageError("give BOT and INSTANCES, or --explain.")
    asked = here.supervisor("scale", bot=bot, instances=instances, who=here.person(), why=why)
    _print(_settled(asked), as_json=as_json)


@bots.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--hours", default=48, show_default=True, type=click.IntRange(1, 2160))
def limits(as_json: bool, hours: int) -> None:
    """Compare what bots need (99th percentile of the neediest instance) with their limits.

    \b
    Example: outrider bots limits --hours 24
    """
    from outrider.analysis import sizing

    found = sizing.needs(here.settings().bots, _used(hours))
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(need) for need in found], indent=2))
        return
    from outrider.cli import terminal

    rows = [
        (need.bot, need.resource, _amount(need, need.needed), _amount(need, need.given),
         need.advice)
        for need in found
    ]  # fmt: skip
    columns = ("bot", "resource", "needs at p99", "is given", "advice")
    terminal.console.print(terminal.table("", columns, rows))


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


def _explain(bot: str | None, *, as_json: bool) -> None:
    import json

    from outrider.cli import terminal
    from outrider.store import keys

    found, client, _ = here.opened()
    kept = client.hgetall(keys.scaling(found.host))
    decided = [json.loads(kept[name]) for name in sorted(kept)]
    decided = [each for each in decided if bot in (None, each["bot"])]
    if as_json:
        click.echo(json.dumps(decided, indent=2))
        return
    if not decided:
        click.echo("nothing was decided yet: give a bot a table scale = { max = ... }.")
        return
    rows = [
        (each["bot"], each["replicas"], each["wanted"],
         f"{each['rate'] or 0.0:.2f}/s", f"{each['queue'] or 0.0:.0f}",
         f"{each['service_rate']:.2f}/s" if each["service_rate"] else "not known",
         each["result"], each["reason"])
        for each in decided
    ]  # fmt: skip
    columns = ("bot", "has", "wants", "arrive", "wait", "one does", "result", "why")
    terminal.console.print(terminal.table("", columns, rows))


def _used(hours: int) -> list[Window]:
    """Return what bots used on every host, as far as rows are kept."""
    from outrider.analysis import sizing
    from outrider.settings import instance_names
    from outrider.store import rows

    found, _, store = here.opened()
    end_s = time.time() + 1
    names = [
        series
        for name, bot in found.bots.items()
        for series in sizing.series_of(instance_names(name, max(1, bot.most_instances)))
    ]
    return [
        rows.side_by_side(
            {name: store.read(host, name, end_s - hours * 3600.0, end_s) for name in names}
        )
        for host in store.hosts()
    ]


def _amount(need: Need, value: float | None) -> str:
    if value is None:
        return ""
    return units.show_bytes(value) if need.resource == "memory" else f"{value:.2f} cores"


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
