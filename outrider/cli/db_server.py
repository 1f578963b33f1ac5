"""``outrider db presets|advise|doctor``: how to connect, how to set the server, what will hurt."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import terminal
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.database.doctor import Check
    from outrider.settings import DatabaseSettings, Settings

_SIZES = {"smaller": "smaller than", "similar": "about as large as", "larger": "larger than"}
EXIT_UNWELL = 1
EXIT_UNAVAILABLE = 3


@click.command()
@click.argument("name", required=False)
@click.option(
    "--bots",
    type=click.IntRange(1, 10_000),
    default=8,
    show_default=True,
    help="processes to hold the old presets against the limit with",
)
@click.option("--max-connections", type=click.IntRange(4), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def presets(name: str | None, bots: int, max_connections: int, as_json: bool) -> None:
    """Explain each value of a preset, and what was wrong with the first ones.

    NAME is development, staging, production or high_performance; all by default.
    """
    from outrider.database import presets as ours
    from outrider.database import seed

    chosen = [ours.by_name(name)] if name else list(ours.PRESETS.values())
    if as_json:
        told = {
            "presets": {
                preset.name: [
                    {"name": key, "value": value, "reason": reason}
                    for key, value, reason in ours.explain(preset)
                ]
                for preset in chosen
            },
            "seed": [{**dataclasses.asdict(each), "most": each.most} for each in seed.SEEDS],
            "faults": [list(each) for each in seed.FAULTS],
        }
        click.echo(json.dumps(told))
        return
    for preset in chosen:
        terminal.console.print(
            terminal.table(f"{preset.name}", ("setting", "value", "why"), ours.explain(preset))
        )
        click.echo()
    ordinary = max_connections - 3
    rows = [
        (each.name, f"{each.pool_size}+{each.max_overflow}", each.most * bots,
         "over" if each.most * bots > ordinary else "fits", each.finished, each.fault)
        for each in seed.SEEDS
    ]  # fmt: skip
    terminal.console.print(
        terminal.table(
            f"What came before: {bots} bots on {max_connections} connections"
            f" ({ordinary} for ordinary roles)",
            ("preset", "a process", "together", "", "finished of a burst (8 bots)", "fault"), rows,
        )
    )  # fmt: skip
    click.echo()
    terminal.console.print(
        terminal.table("", ("what was set", "what was wrong", "now"), seed.FAULTS)
    )


@click.command()
@click.option("--url", help="the database; [database] url by default")
@click.option("--memory", help="the server's memory, such as 16GiB")
@click.option("--cores", type=click.IntRange(1), help="the server's cores")
@click.option("--workload", type=click.Choice(["web", "oltp", "dw", "desktop", "mixed"]))
@click.option("--storage", type=click.Choice(["ssd", "hdd", "san", "nvme"]))
@click.option(
    "--statement",
    "statements",
    multiple=True,
    metavar="SELECT",
    help="a statement to try settings on, in place of made ones; several are allowed",
)
@click.option("--no-measure", is_flag=True, help="the rules only; nothing is run on the server")
@click.option("--apply", "wanted", metavar="NAME", help="try NAME, set it if it gains, watch it")
@click.option("--role", help="set it for this role only (synchronous_commit asks for one)")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="synchronous_commit: yes, this role's last commits may be lost",
)
@click.option("--anyway", is_flag=True, help="apply though no gain was measured")
@click.option("--window", default="20s", show_default=True, help="length of a window of the watch")
@click.option("--undo", is_flag=True, help="take back the newest change (of --apply NAME)")
@click.option("--journal", is_flag=True, help="show what was changed, when, by whom")
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def advise(  # noqa: PLR0917 - one for each option
    url: str | None,
    memory: str | None,
    cores: int | None,
    workload: str | None,
    storage: str | None,
    statements: Sequence[str],
    no_measure: bool,
    wanted: str | None,
    role: str | None,
    accept_loss: bool,
    anyway: bool,
    window: str,
    undo: bool,
    journal: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Say how the server should be set, what each value gains here, and apply one that does.

    Each value that can be tried in a session is tried, old and new in turns, on statements that
    only read. A value without a gain is not applied. What is applied is watched for two windows and
    taken back if it made things worse; --undo takes it back later. What needs a restart is printed.

    \b
    Examples:
      outrider db advise
      outrider db advise --apply work_mem --yes
      outrider db advise --apply synchronous_commit --role bot_log --accept-loss
      outrider db advise --undo

    Exit code 1: not applied, with the reason; 2: bad input; 3: the database does not answer.
    """
    from outrider import units
    from outrider.cli import here
    from outrider.database import advising

    try:
        memory_bytes = units.parse_bytes(memory) if memory else None
        window_s = units.parse_duration(window)
    except ValueError as error:
        raise BadArgument(f"--memory or --window: {error}") from None
    settings = advising.with_url(
        here.settings().database, url, server_memory=memory_bytes, server_cores=cores,
        workload=workload, storage=storage,
    )  # fmt: skip
    if journal:
        _guarded(lambda: _show_journal(settings, as_json))
    elif undo:
        _consent(yes, f"take back {wanted or 'the newest change'} on the server")
        _guarded(lambda: _say(advising.undo(settings, _redis(), wanted, role), as_json))
    elif wanted:
        _consent(yes, f"set {wanted} on the server{f' for role {role}' if role else ''}")
        _guarded(
            lambda: _say(
                advising.apply_one(
                    settings, _redis(), wanted, by=here.person(), role=role,
                    accept_loss=accept_loss, anyway=anyway,
                    statements=statements, window_s=window_s,
                ),
                as_json,
            )
        )  # fmt: skip
    else:
        _guarded(
            lambda: _show_advice(
                advising.advise(
                    settings, advising.engine_of(settings), statements=statements,
                    measure=not no_measure,
                ),
                as_json,
            )
        )  # fmt: skip


@click.command("doctor")
@click.option("--url", help="the database; [database] url by default")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def doctor_(url: str | None, as_json: bool) -> None:
    """Find what will hurt the fleet on its database server, with the remedy of each.

    Exit code 1: something failed; 3: the database does not answer.
    """
    from outrider.cli import here
    from outrider.database import advising, doctor

    settings: Settings = here.settings()
    engine = advising.engine_of(advising.with_url(settings.database, url))
    found = doctor.examine(settings, engine)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(check) for check in found]))
    else:
        terminal.console.print(
            terminal.table("", ("what", "state", "detail", "remedy"), [_row(c) for c in found])
        )
    if found[-1].name == "server" and found[-1].state == "failed":
        sys.exit(EXIT_UNAVAILABLE)
    if any(check.state == "failed" for check in found):
        sys.exit(EXIT_UNWELL)


def _row(check: Check) -> tuple[str, str, str, str]:
    return check.name, check.state, check.detail, check.remedy


def _guarded(do: Any) -> None:
    """Turn what was not applied into exit code 1, and a server that is away into 3."""
    from outrider.database.apply import NotApplied
    from outrider.database.server import DatabaseUnavailable

    try:
        do()
    except NotApplied as error:
        terminal.say(f"outrider: {error}", err=True)
        sys.exit(EXIT_UNWELL)
    except DatabaseUnavailable as error:
        terminal.say(f"outrider: {error}", err=True)
        sys.exit(EXIT_UNAVAILABLE)


def _redis() -> Any:
    from outrider.cli import here

    return here.opened()[1]


def _consent(yes: bool, what: str) -> None:
    if not yes and not click.confirm(f"{what}?"):
        raise click.Abort


def _say(change: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(change)))
        return
    watched = change.evidence.get("watched", {}).get("words", "")
    terminal.say(change.words() + (f" ({watched})" if watched else ""))


def _show_journal(settings: DatabaseSettings, as_json: bool) -> None:
    import datetime as dt

    from outrider.database import advising

    changes = advising.journal_of(settings, _redis()).changes()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(change) for change in changes]))
        return
    rows = [
        (dt.datetime.fromtimestamp(each.at_s).astimezone().isoformat(" ", "seconds"),
         each.by, each.role or "server", each.name, each.value_before, each.after, each.state,
         each.evidence.get("measured", ""))
        for each in changes
    ]  # fmt: skip
    columns = ("when", "who", "where", "setting", "before", "after", "state", "measured")
    terminal.console.print(terminal.table("", columns, rows))


def _show_advice(told: dict[str, Any], as_json: bool) -> None:
    from outrider import units

    if as_json:
        click.echo(json.dumps(told))
        return
    machine = told["machine"]
    terminal.say(
        f"{told['server']}: PostgreSQL {machine['version']},"
        f" {units.show_bytes(machine['memory_bytes'])},"
        f" {machine['cores'] or '?'} cores, {machine['storage']}, as {machine['workload']};"
        f" the data are {_SIZES[machine['size']]} memory."
    )
    if told["statements"]:
        click.echo(f"Tried on {len(told['statements'])} statements, {told['statements_are']}.")
    terminal.console.print(
        terminal.table(
            "", ("setting", "now", "rule", "by", "measured", "why", "costs"),
            [
                (row["name"], row["now"], row["wanted"], row["how"], row["measured"], row["why"],
                 row["cost"])
                for row in told["advice"]
            ],
        )
    )  # fmt: skip
    restart = [row for row in told["advice"] if row["how"] == "restart"]
    if restart:
        click.echo("\nBy hand, since a restart is needed and a wrong value can prevent the start:")
        for row in restart:
            terminal.say(f"  ALTER SYSTEM SET {row['name']} = '{row['wanted']}';")
    if told["pending_restart"]:
        terminal.say(f"Waiting for a restart: {', '.join(told['pending_restart'])}.")
    for warning in told["warnings"]:
        terminal.say(f"Mind: {warning}.")
    gains = [row["name"] for row in told["advice"] if row["verdict"] == "gain"]
    if not gains:
        click.echo("No gain was measured; nothing is worth applying.")
        return
    # The one that costs durability is never the first to be named.
    first = min(gains, key=lambda name: name == "synchronous_commit")
    click.echo(f"A gain was measured for {', '.join(gains)}: outrider db advise --apply {first}")
