"""``outrider cache``: whether the caches pay, which keys do, and what to change."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here, terminal
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import redis

_JSON = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.group()
def cache() -> None:
    """See whether caches pay, which keys do, and what to change.

    A cache pays by the loads that its hits save. Warming pays by misses that did not happen: hits
    on values that were loaded just before they were asked for.
    """


@cache.command()
@click.argument("namespace", required=False)
@_JSON
def stats(namespace: str | None, as_json: bool) -> None:
    """Show hits by tier, loads, and what warming did, of the last 15 minutes.

    \b
    hit      calls answered from a cache: from the bot's memory (mem) or from Redis
    load     how long a load takes: what each hit saves
    warmed   hits on values that were loaded ahead: misses that did not happen
    ahead    loads ahead: useful+wasted ones
    extra    loads beyond those of caching on demand, beside those; the budget bounds it
    2x       calls that memory would answer with twice the room

    With NAMESPACE also: what waited, was served stale, failed, and its bytes.

    \b
    Examples:
      outrider cache stats
      outrider cache stats prices --json
    """
    rows = _rows(namespace)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        terminal.console.print(
            "no cache was used within a day; decorate a slow function with"
            " @outrider.cached(ttl_s=60): docs/how-to/cache.md"
        )
        return
    columns = (
        "cache",
        "calls",
        "hit",
        "mem",
        "redis",
        "load",
        "warmed",
        "ahead",
        "extra",
        "2x",
        "",
    )
    terminal.console.print(terminal.table("", columns, map(_shown, rows)))
    for one in rows if namespace else ():
        click.echo(_more(one))
    if advised := len(_advice(rows)):
        click.echo(f"{advised} could pay more: outrider cache advise")


@cache.command()
@click.argument("namespace")
@click.option("--count", default=10, show_default=True, help="how many keys")
@_JSON
def top(namespace: str, count: int, as_json: bool) -> None:
    """Show the keys of NAMESPACE that were used most within a day, and their rhythm.

    \b
    Example:
      outrider cache top prices --count 20
    """
    from outrider.cache import report

    _, client, _ = here.opened()
    found = report.top(client, _known(client, namespace), count)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    now_s = time.time()
    rows = [
        (one["key"], f"{one['uses']:,}", _ago(now_s, one["last_use_s"]), _time(one["gap_s"]),
         "yes" if one["repeatable"] else "no: its arguments don't survive JSON", one["bot"])
        for one in found
    ]  # fmt: skip
    columns = ("key", "uses", "last", "every", "can be warmed", "bot")
    terminal.console.print(terminal.table("", columns, rows))


@cache.command()
@click.argument("namespace")
@click.argument("key")
@_JSON
def explain(namespace: str, key: str, as_json: bool) -> None:
    """Say what Redis knows of one KEY: until when it lives, who loads it, how it is used.

    Keys are written as `outrider cache top` shows them, such as '["BTC"]'.

    \b
    Example:
      outrider cache explain prices '["BTC"]'
    """
    from outrider.cache import report

    _, client, _ = here.opened()
    found = report.explain(client, _known(client, namespace), key)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    now_s = time.time()
    there = (
        f"in Redis for {_time(found['left_s'])} more, {found['bytes']:,} bytes"
        if found["left_s"]
        else "not in Redis: the next call loads it"
    )
    terminal.say(f"{namespace} {key}: {there}")
    terminal.say(f"  used {found['uses']:,} times, last {_ago(now_s, found['last_use_s'])} ago")
    if found["gap_s"]:
        click.echo(
            f"  asked for every {_time(found['gap_s'])}, lives {_time(found['ttl_s'])}: "
            + ("a value serves several calls" if found["gap_s"] < found["ttl_s"]
               else "it expires before the next call, unless it is loaded ahead")
        )  # fmt: skip
    if found["is_loading"]:
        click.echo("  somebody loads it now; whoever misses it waits for that load")
    if found["due_s"]:
        click.echo(f"  to be loaded ahead by its bot in {found['due_s'] - now_s:.1f} s")
    if found["warmed_unused_since_s"]:
        click.echo(
            f"  loaded ahead {_ago(now_s, found['warmed_unused_since_s'])} ago, not used yet"
        )
    if not found["repeatable"]:
        click.echo("  can't be warmed: its arguments don't survive JSON")
    terminal.say(f"  loader {found['loader']}, bot {found['bot'] or '-'}, {found['redis_key']}")


@cache.command()
@click.argument("namespace", required=False)
@_JSON
def advise(namespace: str | None, as_json: bool) -> None:
    """Say what would make caches pay more: time to live, room, warming; with the evidence."""
    found = _advice(_rows(namespace))
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    if not found:
        click.echo("nothing to change: no cache with enough calls would pay more otherwise.")
    for each in found:
        terminal.say(
            each.text, f"  do    {each.setting}", f"  gain  {each.gain}", f"  risk  {each.risk}"
        )
        terminal.say(*(f"  seen  {seen}" for seen in each.evidence))


def _advice(rows: list[dict[str, Any]]) -> list[Any]:
    from outrider.cache import advice

    return advice.of(rows)


def _rows(namespace: str | None) -> list[dict[str, Any]]:
    from outrider.cache import figures, report

    _, client, store = here.opened()
    if namespace is not None:
        _known(client, namespace)
    now_s = time.time()
    windows = [store.window(host, now_s - figures.RECENT_S, now_s + 1) for host in store.hosts()]
    rows = report.full(client, windows, now_s=now_s)
    return [row for row in rows if namespace in (None, row["namespace"])]


def _known(client: redis.Redis, namespace: str) -> str:
    from outrider.cache import usage

    known = usage.namespaces(client, time.time())
    if namespace not in known:
        raise BadArgument(
            f"no cache {namespace!r} was used within a day; in use: {', '.join(known) or 'none'}."
        )
    return namespace


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    recent, ahead = row["recent"] or {}, row["ahead"] or {}
    calls = recent.get("calls") or 0
    served = f"{ahead['useful']}+{ahead['wasted']}" if ahead.get("ahead") else "-"
    return (
        row["namespace"],
        f"{calls:,.0f}",
        *(_share(recent.get(what, 0.0), calls)
          for what in ("hits", "hits_memory", "hits_redis")),
        _time(recent.get("load_s")),
        f"{recent.get('warmed_hits', 0):.0f}",
        served,
        f"{ahead['extra']}/{ahead['demand']}" if ahead else "-",
        "-" if recent.get("doubled_hit_ratio") is None else f"{recent['doubled_hit_ratio']:.0%}",
        "REDIS AWAY" if recent.get("away") else str(ahead.get("off") or ""),
    )  # fmt: skip


def _more(row: dict[str, Any]) -> str:
    def count(what: str) -> str:
        return f"{(row['recent'] or {}).get(what, 0):.0f}"

    return (
        f"{count('misses')} missed, {count('waits')} waited for another's load,"
        f" {count('stale_hits')} were served stale; {count('errors')} loads failed,"
        f" {count('fallbacks')} calls did not reach Redis;"
        f" {row['keys']} keys known, about {row['bytes'] or 0:,} bytes in Redis"
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f}\N{NO-BREAK SPACE}ms" if seconds < 1 else f"{seconds:.1f} s"


def _ago(now_s: float, at_s: float) -> str:
    return _time(max(0.0, now_s - at_s))
