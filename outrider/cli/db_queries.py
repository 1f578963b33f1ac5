"""``outrider db queries | indexes | locks``: what the database is slow at, and what would help."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import terminal
from outrider.errors import BadArgument, RedisUnavailable

if TYPE_CHECKING:
    import sqlalchemy as sa

    from outrider.database.index_advice import Advice, Proposal
    from outrider.database.workload import Workload

_URL = click.option("--url", help="the database; [database] url by default")
_JSON = click.option("--json", "as_json", is_flag=True, help="print JSON")
_TEXT = 100


def register(group: click.Group) -> None:
    """Add the three commands to ``outrider db``."""
    for command in (queries, indexes, locks):
        group.add_command(command)


@click.command()
@click.option(
    "--by", type=click.Choice(["total", "p99", "calls", "regression"]),
    default="total", show_default=True,
    help="what leads: time in all, slowest calls, number of calls, slower than before",
)  # fmt: skip
@click.option("--most", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option(
    "--explain", "explained", metavar="SQL", help="say what is wrong with this statement's plan"
)
@click.option(
    "--analyze", is_flag=True, help="run it for that: only a SELECT, read-only, 5 s at most"
)
@_URL
@_JSON
def queries(  # noqa: PLR0917 - one for each option
    by: Any, most: int, explained: str | None, analyze: bool, url: str | None, as_json: bool
) -> None:
    """List the statements that cost most, or explain one.

    What bots measured and what pg_stat_statements counted, by fingerprint: constants, spaces and
    the length of IN lists make no difference. Slower than before needs `outrider up` to have
    learnt what is normal.

    \b
    Examples:
      outrider db queries --by regression
      outrider db queries --analyze --explain "SELECT * FROM messages WHERE user_id = 7"
    """
    from outrider.database import health, top

    engine = _engine(url)
    if explained is not None:
        _explain(engine, explained, analyze=analyze, as_json=as_json)
        return
    seen = _workload(engine)
    found = top.top(seen.costs, by=by, most=most, baseline=seen.baseline)
    if as_json:
        click.echo(json.dumps({"by": by, "note": seen.note, "statements": health.costs(found)}))
        return
    if found:
        terminal.console.print(
            terminal.table(
                "",
                ("calls", "total s", "mean ms", "p99 ms", "rows", "errors", "statement"),
                [
                    (
                        each.calls,
                        f"{each.total_s:.2f}",
                        f"{each.mean_s * 1000:.2f}",
                        "" if each.p99_s is None else f"{each.p99_s * 1000:.1f}",
                        each.rows,
                        each.errors,
                        each.text[:_TEXT],
                    )
                    for each in found
                ],
            )
        )
    else:
        click.echo(
            "no statement is known to be slower than before."
            if by == "regression"
            else "no statement was seen."
        )
    if seen.note:
        terminal.say(seen.note)


@click.command()
@click.option(
    "--sql", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="statements to advise on, each ended by a semicolon; the dearest seen by default",
)  # fmt: skip
@click.option(
    "--most",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="so many of the dearest",
)
@click.option(
    "--no-copies", is_flag=True, help="make no temporary copies; statistics only, without HypoPG"
)
@click.option(
    "--build", is_flag=True, help="build what is proposed, and drop again what does not help"
)
@_URL
@_JSON
def indexes(  # noqa: PLR0917 - one for each option
    sql: Path | None, most: int, no_copies: bool, build: bool, url: str | None, as_json: bool
) -> None:
    """Say which indexes are missing, which nobody uses, and which are there twice.

    A proposal was tried: with HypoPG where it is installed, else by building it on a temporary copy
    of the table (200,000 rows of it at most) that only this session sees. Nothing else is changed,
    unless --build: then each is built with CREATE INDEX CONCURRENTLY, measured, and dropped again
    when no statement became twice as quick.

    \b
    Examples:
      outrider db indexes
      outrider db indexes --sql slow.sql --build
    """
    from outrider import units
    from outrider.database import health, index_advice, index_health

    engine = _engine(url)
    if sql is not None:
        asked, note = _asked(sql), ""
    else:
        seen = _workload(engine)
        asked, note = health.asked(seen, most=most), seen.note
    advice = index_advice.advise(engine, asked, copies=not no_copies)
    with engine.connect() as connection:
        idle = index_health.look(connection)
    built = _build(engine, advice.proposals) if build else []
    if as_json:
        click.echo(
            json.dumps(
                {
                    "missing": health.proposals(advice),
                    "idle": [dataclasses.asdict(each) | {"ddl": each.ddl} for each in idle],
                    "built": built,
                    "skipped": advice.skipped,
                    "note": note,
                }
            )
        )
        return
    _show_advice(len(asked), advice)
    for index in idle:
        terminal.say(
            "", index.ddl, f"  {index.code}, {units.show_bytes(index.bytes)}: {index.reason}"
        )
    for each in built:
        terminal.say(f"{each['name']}: {'kept' if each['kept'] else 'dropped'}, {each['reason']}")
    if note:
        click.echo(note)


@click.command()
@_URL
@_JSON
def locks(url: str | None, as_json: bool) -> None:
    """Show who blocks whom, long transactions, bloat and wraparound age.

    Exit code 0 also when somebody is blocked: it is a state, not a failure of this command.
    """
    from outrider.database import bloat
    from outrider.database import locks as held

    with _engine(url).connect() as connection:
        seen = held.sessions(connection)
        bloated, age = bloat.tables(connection), bloat.age(connection)
    blocks, long = held.blocks(seen), held.long_transactions(seen)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "blocks": [dataclasses.asdict(each) for each in blocks],
                    "long_transactions": [dataclasses.asdict(each) for each in long],
                    "bloated": [dataclasses.asdict(each) for each in bloated],
                    "wraparound_ratio": age.used_ratio,
                }
            )
        )
        return
    for block in blocks:
        terminal.say(block.root.words(), f"  blocks {len(block.waiting)}:")
        terminal.say(*(f"  {session.words()}" for session in block.waiting))
        click.echo(f"  to free them: SELECT pg_terminate_backend({block.root.pid});")
    for session in long:
        terminal.say(f"transaction open for {session.transaction_s:.0f} s: {session.words()}")
    for table in bloated:
        terminal.say(
            f"{table.schema}.{table.name}: {table.dead:,} dead rows ({table.dead_ratio:.0%});"
            " VACUUM it."
        )
    if not blocks:
        click.echo("nobody is blocked.")
    click.echo(
        f"transaction numbers: {age.used_ratio:.1%} used up before the server refuses writes."
    )


def _show_advice(looked_at: int, advice: Advice) -> None:
    from outrider import units

    missing = len(advice.proposals)
    click.echo(
        f"{looked_at} statements were looked at;"
        f" {missing} {'index is' if missing == 1 else 'indexes are'} missing."
    )
    for proposal in advice.proposals:
        terminal.say("", proposal.ddl)
        click.echo(
            f"  up to {proposal.gain:,.0f} times cheaper, {units.show_bytes(proposal.size_bytes)},"
            f" {proposal.write_s_per_s * 1000:.2f} ms of writing a second; {proposal.confidence}"
        )
        for gain in proposal.gains:
            ran = f", {gain.quicker:,.0f} times quicker when run" if gain.quicker else ""
            costs = f"cost {gain.cost_before:,.0f} -> {gain.cost_after:,.1f}{ran}"
            terminal.say(f"  {costs}: {gain.text[:_TEXT]}")
        if proposal.replaces:
            terminal.say(f"  then {', '.join(proposal.replaces)} can go")
    for text, reason in advice.skipped:
        terminal.say("", f"not judged: {' '.join(text.split())[:_TEXT]}", f"  {reason}")


def _explain(engine: sa.Engine, text: str, *, analyze: bool, as_json: bool) -> None:
    from outrider.database import explain, plan_findings

    statement = explain.read(text)
    with engine.connect() as connection:
        plan = (
            explain.analysed(connection, statement)
            if analyze
            else explain.plan(connection, statement)
        )
    found = plan_findings.of(plan)
    if as_json:
        click.echo(
            json.dumps({"plan": plan, "findings": [dataclasses.asdict(each) for each in found]})
        )
        return
    terminal.say(*plan_findings.explained(plan))
    for each in found:
        terminal.say("", f"{each.code}: {each.text}", f"  {each.remedy}")
    if not found:
        click.echo(
            "\nnothing is wrong with this plan." + ("" if analyze else " --analyze sees more.")
        )


def _build(engine: sa.Engine, proposals: tuple[Proposal, ...]) -> list[dict[str, Any]]:
    from outrider.database import index_build

    return [dataclasses.asdict(index_build.build(engine, each)) for each in proposals]


def _engine(url: str | None) -> sa.Engine:
    from outrider.cli import here
    from outrider.database import server
    from outrider.metrics import database as reach

    if url is None:
        secret = here.settings().database.url
        url = secret.get_secret_value() if secret else None
    if url is None:
        raise BadArgument("no database is named: set [database] url, or give --url.")
    engine = reach.observer(url)
    asked = server.ask(engine)
    if asked.kind != "postgresql":
        raise BadArgument(f"{asked.kind} keeps no statistics of statements; this needs PostgreSQL.")
    return engine


def _workload(engine: sa.Engine) -> Workload:
    from outrider.cli import here
    from outrider.database import workload

    try:
        _, client, _ = here.opened()
    except RedisUnavailable:
        return workload.look(engine)
    return workload.look(engine, client, now_s=time.time())


def _asked(file: Path) -> list[Any]:
    from outrider.database import fingerprint, index_advice

    text = file.read_text()
    statements = fingerprint.split(text)
    if statements is None:
        raise BadArgument(
            f"{file} can't be parsed as PostgreSQL's SQL; end each statement with ';'."
        )
    return [index_advice.Asked(each) for each in statements]
