"""``outrider report``: what is wrong, since when, why, what to do; as text, JSON or a page."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outrider import units
from outrider.cli import here
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import redis

    from outrider.analysis.sections import Section
    from outrider.store.redis import RedisStore

EXIT_UNWELL = 1
_SHOWN_NORMAL = 30


@click.command()
@click.argument("what", default="host", metavar="[host|bot|fleet|baseline]")
@click.argument("name", default="")
@click.option("--since", default="6h", show_default=True, help="how far back, such as 30m or 2d")
@click.option("--host", default="", help="of baseline, or the host of a report; else this one")
@click.option("--bot", default="", help="of baseline: only the series of this bot")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path),
              help="write one page with pictures there; it needs no network")  # fmt: skip
def report(  # noqa: PLR0917 - click passes them by name
    what: str, name: str, since: str, host: str, bot: str, as_json: bool, page: Path | None
) -> None:
    """Say what is wrong, since when, why, and what to do.

    host [NAME]: everything of a host, this one by default. bot NAME: what concerns one bot. fleet:
    what no host owns, and every host's verdict. baseline: now beside normal.
    Exit code 0: nothing is wrong. 1: something is. 2: bad input. 3: Redis does not answer.

    \b
    Examples:
      outrider report
      outrider report bot canary --since 2d
      outrider report host alpha --html report.html
      outrider report baseline --bot canary
    """
    if what not in ("host", "bot", "fleet", "baseline"):
        raise BadArgument(f"{what!r} is no report; known: host, bot, fleet, baseline.")
    if what == "bot" and not name:
        raise BadArgument("bot needs a name, such as: outrider report bot canary.")
    if page and what == "baseline":
        raise BadArgument("baseline has no page; use --json, or outrider report host --html FILE.")
    now_s = time.time()
    since_s = now_s - _span(since)
    settings, client, store = here.opened()
    host = host or (name if what == "host" and name else settings.host)
    if what == "baseline":
        _baseline(client, store, host, bot or name, as_json=as_json)
        return
    found = _found(client, store, what, host, name, since_s=since_s)
    if page:
        _write(page, client, store, found, since_s=since_s, now_s=now_s)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not page:
        _print(found, now_s)
    states = [found["state"], *(each["state"] for each in found.get("hosts", ()))]
    sys.exit(EXIT_UNWELL if {"warning", "critical"} & set(states) else 0)


def _span(text: str) -> float:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise BadArgument(f"--since {error}") from None


def _found(
    client: redis.Redis, store: RedisStore, what: str, host: str, name: str, *, since_s: float
) -> dict[str, Any]:
    from outrider.analysis import archive
    from outrider.store import keys

    if what == "bot":
        return archive.of_bot(client, store, name, since_s=since_s)
    if what == "host":
        return archive.read(client, store, host, since_s=since_s)
    found = archive.read(client, store, keys.FLEET, since_s=since_s)
    each = []
    for one in archive.hosts(store):
        if one != keys.FLEET:
            try:
                each.append(archive.read(client, store, one, since_s=since_s))
            except BadArgument:  # it has rows, and no report yet
                continue
    shown = ("host", "state", "since_s", "at_s", "verdict")
    return found | {"hosts": [{key: one.get(key) for key in shown} for one in each]}


def _write(
    page: Path,
    client: redis.Redis,
    store: RedisStore,
    found: dict[str, Any],
    *,
    since_s: float,
    now_s: float,
) -> None:
    from outrider.analysis import archive
    from outrider.analysis import page as pages

    drawn = archive.drawn(client, store, found, since_s=since_s)
    try:
        page.write_text(pages.render(found, drawn, now_s=now_s), "utf-8")
    except OSError as error:
        raise BadArgument(f"--html {page}: can't be written ({error.strerror}).") from None
    click.echo(f"{page}: {len(drawn)} pictures", err=True)


def _baseline(
    client: redis.Redis, store: RedisStore, host: str, bot: str, *, as_json: bool
) -> None:
    import msgspec

    from outrider.analysis import archive, sections
    from outrider.samples import bot_of

    found = archive.normal(client, store, host, now_s=time.time())
    if bot:
        found = [each for each in found if bot_of(each.series) == bot]
    if not found:
        of = f"bot {bot!r} on host {host!r}" if bot else f"host {host!r}"
        known = ", ".join(archive.hosts(store)) or "none yet"
        raise BadArgument(
            f"nothing is known yet of what is normal for {of}, or it has no fresh row. It takes "
            f"fifteen ticks; hosts with rows are: {known}."
        )
    plain = [msgspec.structs.asdict(each) for each in found]
    if as_json:
        click.echo(json.dumps(plain, indent=2))
        return
    from outrider.cli import terminal

    off = sum(each.is_off for each in found)
    terminal.console.print(
        terminal.safe(f"{host}: {off} of {len(found)} series are off their normal."), style="bold"
    )
    _table(sections.comparisons(plain[: max(off, _SHOWN_NORMAL)]))


def _print(found: dict[str, Any], now_s: float) -> None:
    from outrider.analysis import sections, words
    from outrider.cli import terminal

    say = terminal.console.print
    say(terminal.safe(found["verdict"]), style="bold", markup=False)
    since = words.clock(found["since_s"], now_s) if found.get("since_s") else "unknown"
    of = f"bot {found['bot']} on {found['host']}" if "bot" in found else str(found["host"])
    at = words.clock(found["at_s"], now_s)
    said = f"{of}: {found['state']} since {since}; measured at {at}, {found['series']} series"
    say(terminal.safe(said), style="dim", markup=False)
    if found["states_damaged"]:
        say(f"{found['states_damaged']} states could not be read and were begun anew", style="dim")
    if found.get("hosts"):
        rows = [(each["host"], each["state"], each["verdict"]) for each in found["hosts"]]
        say()
        say(terminal.table("Hosts", ("host", "state", "verdict"), rows))
    for section in sections.sections(found, now_s):
        say()
        _table(section)


def _table(section: Section) -> None:
    from outrider.cli import terminal

    terminal.console.print(terminal.table(section.title, section.columns, section.rows))
