"""``outrider db``: what the fleet may ask of its database server, and who has what now."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from outrider import units
from outrider.cli import db_queries, db_server
from outrider.errors import BadArgument, RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.database.load import Load
    from outrider.database.pools import Member, Plan
    from outrider.settings import Settings

# What a bot is taken to do when nobody says: some messages a second, each a short transaction.
RATE, HOLD = 5.0, "50ms"
_BARS = 40
_POINTS = 10


@click.group()
def db() -> None:
    """Plan the fleet's connections, see who has how many, and look after the server.

    A database server is shared by the whole fleet. `outrider db plan` says how many connections
    each bot should have, so that all of them together never ask for more than there are.
    """


db.add_command(db_server.presets)
db.add_command(db_server.advise)
db.add_command(db_server.doctor_)
db_queries.register(db)


@db.command()
@click.option("--bots", type=click.IntRange(1, 10_000), help="plan for so many bots, all alike")
@click.option(
    "--bot", "given", multiple=True, metavar="NAME=RATE:HOLD[:INSTANCES]",
    help="a bot of its own: checkouts a second and how long each holds, such as busy=22:150ms:2",
)  # fmt: skip
@click.option("--rate", type=float, help=f"checkouts a second of each of --bots [{RATE:g}]")
@click.option("--hold", help=f"how long each of them holds its connection [{HOLD}]")
@click.option("--max-connections", type=int, help="the server's limit; asked from it by default")
@click.option("--reserved", type=int, default=3, show_default=True, help="kept by the server")
@click.option("--others", type=int, default=0, show_default=True, help="other clients' connections")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def plan(  # noqa: PLR0917 - one for each option
    bots: int | None,
    given: Sequence[str],
    rate: float | None,
    hold: str | None,
    max_connections: int | None,
    reserved: int,
    others: int,
    as_json: bool,
) -> None:
    """Say how many connections each bot should have, and what its callers then wait.

    With --bots or --bot it plans a fleet that need not exist, without a server. Without them it
    plans the fleet of the settings, by the load that was measured.

    \b
    Examples:
      outrider db plan --bots 40 --max-connections 100
      outrider db plan --bot busy=22:150ms --bot calm=3:150ms:4 --max-connections 40
      outrider db plan

    Exit code 2: the fleet does not fit; the text says what would.
    """
    from outrider.database import pools
    from outrider.database.wall import Wall

    if bots is None and not given:
        planned, members = _of_settings(max_connections)
    else:
        if max_connections is None:
            raise BadArgument("--max-connections is missing: without a server, say its limit.")
        members = _members(bots, given, rate, hold)
        wall = Wall(max_connections, reserved=reserved, others=others)
        planned = pools.plan(members, wall)
    if as_json:
        click.echo(json.dumps(_plain(planned, members)))
        return
    _show(planned, members)


@db.command("pools")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def pools_(as_json: bool) -> None:
    """Show who has how many connections now, against the wall.

    Exit code 3: Redis does not answer.
    """
    from outrider.cli import here, terminal
    from outrider.database import budget, fleet

    settings, client, _ = here.opened()
    server = fleet.server_name(settings)
    if server is None:
        raise BadArgument("[database] url names no PostgreSQL: its connections are not leased.")
    made = budget.Budget(client, server)
    state, holders = made.state(), made.holders()
    holders.sort(key=lambda each: each.name)
    if as_json:
        rows = [{name: getattr(each, name) for name in each.__slots__} for each in holders]
        click.echo(json.dumps({"server": server, "state": state, "holders": rows}))
        return
    if not state:
        click.echo(f"no plan is in force for {server}; `outrider up` publishes it.")
        return
    lent, free = state["extra"], state["wall"] - state["reserved"] - state["surge"] - state["extra"]
    click.echo(
        f"{server}: of {state['wall']} connections {state['reserved']} are floors,"
        f" {state['surge']} for restarts, {lent} lent, {free} free."
    )
    terminal.console.print(
        terminal.table(
            "",
            ("process", "open", "may have", "floor", "share", ""),
            [
                (
                    each.name,
                    each.open,
                    each.cap,
                    each.floor,
                    each.share,
                    "lost" if each.lost else "",
                )
                for each in holders
            ],
        )
    )


def _of_settings(max_connections: int | None) -> tuple[Plan, list[Member]]:
    from outrider.cli import here
    from outrider.database import fleet
    from outrider.database import server as servers
    from outrider.metrics import database as reach

    settings = here.settings()
    if max_connections is not None:
        settings = settings.model_copy(
            update={
                "database": settings.database.model_copy(
                    update={"max_connections": max_connections}
                )
            }
        )
    url = settings.database.url
    asked = servers.ask(reach.observer(url.get_secret_value())) if url else None
    loads = _loads(settings)
    planned = fleet.plan(settings, asked, loads=loads)
    if planned is None:
        raise BadArgument(
            "nothing says how many connections there are: set [database] url or max_connections,"
            " or give --max-connections."
        )
    return planned, fleet.members(settings, loads)


def _loads(settings: Settings) -> dict[str, Load]:
    """Return what was measured of late; nothing when no stack runs here."""
    import time

    from outrider.cli import here
    from outrider.database import load, planning

    try:
        _, _, store = here.opened()
    except RedisUnavailable:
        return {}
    now_s = time.time()
    return load.of_bots(
        settings.bots,
        (store.window(host, now_s - planning.RECENT_S, now_s) for host in store.hosts()),
    )


def _members(
    bots: int | None, given: Sequence[str], rate: float | None, hold: str | None
) -> list[Member]:
    from outrider.database.pools import Member

    hold_s = _duration("--hold", hold or HOLD)
    every = RATE if rate is None else rate
    alike = [Member(f"bot-{n}", rate=every, hold_s=hold_s) for n in range(1, (bots or 0) + 1)]
    return alike + [_member(text) for text in given]


def _member(text: str) -> Member:
    from outrider.database.pools import Member

    name, _, load = text.partition("=")
    rate, _, rest = load.partition(":")
    hold, _, instances = rest.partition(":")
    try:
        parsed = float(rate), int(instances or 1)
    except ValueError:
        parsed = None
    if not name or not hold or parsed is None:
        raise BadArgument(
            f"--bot {text!r}: write NAME=RATE:HOLD or NAME=RATE:HOLD:INSTANCES, such as"
            " busy=22:150ms:2."
        )
    return Member(name, parsed[1], rate=parsed[0], hold_s=_duration("--bot", hold))


def _duration(option: str, text: str) -> float:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise BadArgument(f"{option}: {error}") from None


def _plain(planned: Plan, members: list[Member]) -> dict[str, Any]:
    return {
        "wall": planned.wall,
        "why": planned.server.words(),
        "surge": planned.surge,
        "total": planned.total,
        "bots": [
            {
                "name": share.name, "instances": share.instances, "floor": share.floor,
                "pool_size": share.size, "wait_p99_s": share.wait_p99_s,
            }
            for share in planned.shares
        ],
        "waiting": [
            {"connections": total, "wait_p99_s": wait} for total, wait in _curve(planned, members)
        ],
    }  # fmt: skip


def _show(planned: Plan, members: list[Member]) -> None:
    from outrider.cli import terminal

    click.echo(planned.server.words())
    rows: dict[tuple[Any, ...], list[str]] = {}
    for share in planned.shares:
        wait = "not measured" if share.wait_p99_s is None else f"{share.wait_p99_s * 1000:.0f} ms"
        rows.setdefault((share.instances, share.floor, share.size, wait), []).append(share.name)
    terminal.console.print(
        terminal.table(
            "",
            ("bots", "instances", "at least", "pool", "wait at p99"),
            [
                (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} alike", *row)
                for row, names in rows.items()
            ],
        )
    )
    spare = planned.wall - planned.total
    click.echo(
        f"{planned.total - planned.surge} in pools, {planned.surge} for one that restarts,"
        f" {spare} to spare."
    )
    _picture(_curve(planned, members), planned)


def _curve(planned: Plan, members: list[Member]) -> list[tuple[int, float]]:
    """Return the 99th percentile of all waits with ever more connections in all."""
    from outrider.database import pools
    from outrider.database.wall import Wall

    if all(member.rate is None for member in members):
        return []
    running = [share for share in planned.shares if share.instances]
    least = planned.floors + max((share.floor for share in running), default=0)
    most = max(planned.wall, round(least * 1.5) + _POINTS)
    points = sorted({round(least + (most - least) * n / _POINTS) for n in range(_POINTS + 1)})
    found = []
    for point in points:
        shares = pools.plan(members, Wall(point, operations=0)).shares
        found.append((point, pools.fleet_wait_s(members, shares)))
    return found


def _picture(curve: list[tuple[int, float]], planned: Plan) -> None:
    if not curve:
        click.echo("No load was measured yet, so nothing can be said of waiting.")
        return
    click.echo("\nconnections   wait of all checkouts at p99")
    greatest = max(wait for _, wait in curve) or 1.0
    for total, wait in curve:
        # Waits fall by orders of magnitude: a bar of their roots shows all of them.
        bar = "█" * math.ceil(_BARS * math.sqrt(wait / greatest))
        here = "  ◄ the wall" if total == planned.wall else ""
        click.echo(f"{total:>11}   {bar} {wait * 1000:.0f} ms{here}")
