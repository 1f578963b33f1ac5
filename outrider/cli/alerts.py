"""``outrider alerts``: what fires, what changed, who was told; and trying rules out."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from outrider.alerts.replay import Replay
    from outrider.alerts.rules import Rule
    from outrider.settings import Settings

# More instances than this on a screen are a list that nobody reads.
_MOST_SHOWN = 40


@click.group()
def alerts() -> None:
    """Show alerts, their history, and who was told of them."""


@alerts.command("list")
@click.option("--history", is_flag=True, help="every change of state, newest first")
@click.option("--told", is_flag=True, help="who was told, when, with what result")
@click.option("--rules", "show_rules", is_flag=True, help="the rules in force")
@click.option("-n", "--most", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_(history: bool, told: bool, show_rules: bool, most: int, as_json: bool) -> None:
    """Show alerts that fire, are about to, or were resolved in the last quarter of an hour.

    \b
    Examples:
      outrider alerts list
      outrider alerts list --history -n 20
    """
    from outrider.alerts import defaults, journal
    from outrider.cli import terminal

    def at(time_s: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))

    columns: tuple[str, ...]
    if show_rules:
        found = [_plain(rule) for rule in defaults.of_settings(here.settings())]
        columns = ("name", "severity", "text")
        rows = [[rule[column] for column in columns] for rule in found]
    else:
        _, client, store = here.opened()
        if history:
            found = journal.history(client, most)
            columns = ("at", "host", "severity", "from", "to", "summary")
            rows = [[at(e["at_s"]), *(e[name] for name in columns[1:])] for e in found]
        elif told:
            found = journal.notifications(client, most)
            columns = ("at", "channel", "result", "rule", "instance", "to")
            rows = [[at(e["at_s"]), *(e[name] for name in columns[1:])] for e in found]
        else:
            active = [a for host in store.hosts() for a in journal.active(client, host)]
            found = [asdict(alert) for alert in active]
            columns = ("since", "host", "severity", "state", "summary")
            rows = [
                [at(a.since_s), a.host, a.severity, a.state, a.summary or a.key] for a in active
            ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not rows:
        terminal.console.print("nothing fires." if not (history or told) else "nothing yet.")
    else:
        terminal.console.print(terminal.table("", columns, rows))


@alerts.command("test")
@click.argument("rule", metavar="RULE|FILE")
@click.option("--from", "since", default="24h", show_default=True, help="how long back, or a time")
@click.option("--to", "until", default="now", show_default=True, help="how long back, or a time")
@click.option("--host", help="only this host's; all by default")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def test_(rule: str, *, since: str, until: str, host: str | None, as_json: bool) -> None:
    """Show what RULE would have done with stored history, or run the tests in FILE.

    RULE is the name of one in force, or a condition. Nobody is told of anything. FILE (.toml or
    .yaml) holds unit tests of rules: series go in, states come out. Exit code 1 when one fails.

    \b
    Examples:
      outrider alerts test "disk is nearly full" --from 7d
      outrider alerts test 'bot.*.rss_bytes > 300MiB for 1m' --from 2026-11-24T10:00 --to 2h
      outrider alerts test rules.test.toml
    """
    if Path(rule).suffix in (".toml", ".yaml", ".yml"):
        _run_cases(Path(rule), as_json=as_json)
        return
    from outrider.alerts import replay
    from outrider.cli import moment

    now_s = time.time()
    start_s, end_s = moment.at("--from", since, now_s), moment.at("--to", until, now_s)
    if start_s >= end_s:
        raise BadArgument(f"--from {since} is not before --to {until}.")
    settings, _, store = here.opened()
    tried = _rule(rule, settings)
    known = [name for name in store.hosts() if host in (None, name)]
    if not known:
        raise BadArgument(f"--host {host}: no such host has series.")
    limits = {name: bot.limits.memory for name, bot in settings.bots.items() if bot.limits.memory}
    played = [
        replay.replay(store, tried, name, start_s, end_s, memory_limits=limits) for name in known
    ]
    fired = [
        (each, first, lasted_s)
        for each in played
        for first, lasted_s in replay.firings(each.changes, end_s)
    ]
    if as_json:
        click.echo(json.dumps(_plain_replay(tried, played, fired), indent=2))
    else:
        _show_replay(tried, played, fired)


_Fired = list[tuple["Replay", Any, float]]


def _rule(text: str, settings: Settings) -> Rule:
    """Return the rule in force of this name, or the one that the text is."""
    from outrider.alerts import defaults, rules

    named = {each.name: each for each in defaults.of_settings(settings)}
    try:
        return named.get(text) or rules.parse("tried", text)
    except BadArgument as error:
        if any(sign in text for sign in "<>=.("):
            raise
        raise BadArgument(
            f"no rule is called {text!r} (`outrider alerts list --rules` names them), and it is "
            f"no condition: {error}"
        ) from None


def _show_replay(rule: Rule, played: list[Replay], fired: _Fired) -> None:
    from outrider.cli import plot, terminal

    say = terminal.console.print
    say(terminal.safe(rule.text), markup=False, highlight=False)
    ticks = sum(each.ticks for each in played)
    span = f"{plot.moment(played[0].start_s)} .. {plot.moment(played[0].end_s)}"
    say(f"{span}; {ticks:,} rows of {len(played)} hosts", style="dim", highlight=False)
    news = sum(change.is_news for each in played for change in each.changes)
    if not fired:
        pending = sum(change.to == "pending" for each in played for change in each.changes)
        almost = f" It began to hold {pending} times, never long enough." if pending else ""
        say(f"It would not have fired.{almost}" if ticks else "There are no rows of that time.")
        return
    rows = [
        (
            plot.moment(first.at_s), each.host, first.instance, plot.duration(lasted_s),
            f"{first.value:.4g}", plot.sparkline(each.peaks.get(first.instance, [])),
        )
        for each, first, lasted_s in fired[:_MOST_SHOWN]
    ]  # fmt: skip
    columns = ("fires at", "host", "instance", "for", "value", "peaks over the time")
    table = terminal.table("", columns, rows)
    table.columns[-1].no_wrap = True
    say(table)
    if len(fired) > _MOST_SHOWN:
        say(f"... and {len(fired) - _MOST_SHOWN} more", style="dim")
    instances = len({(each.host, first.instance) for each, first, _ in fired})
    say(
        f"It would have fired {len(fired)} times on {instances} instances; people would have been "
        f"told {news} times."
    )


def _plain_replay(rule: Rule, played: list[Replay], fired: _Fired) -> dict[str, Any]:
    return {
        "rule": _plain(rule),
        "from_s": played[0].start_s,
        "to_s": played[0].end_s,
        "rows": sum(each.ticks for each in played),
        "told": sum(change.is_news for each in played for change in each.changes),
        "fired": [
            {"host": each.host, "instance": first.instance, "at_s": first.at_s,
             "for_s": lasted_s, "value": first.value}
            for each, first, lasted_s in fired
        ],
        "changes": [change.plain() for each in played for change in each.changes],
    }  # fmt: skip


def _run_cases(path: Path, *, as_json: bool) -> None:
    from outrider.alerts import cases, defaults

    outcomes = cases.run(cases.load(path), defaults.of_settings(here.settings()))
    if as_json:
        click.echo(json.dumps([
            {"test": each.name, "failures": each.failures} for each in outcomes
        ], indent=2))  # fmt: skip
    else:
        for each in outcomes:
            click.echo(f"{'FAILED' if each.failures else 'ok':6} {each.name}")
            for failure in each.failures:
                click.echo(f"       {failure}")
    if any(each.failures for each in outcomes):
        raise SystemExit(1)


def _plain(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name, "severity": rule.severity, "text": rule.text, "for_s": rule.for_s,
        "keep_firing_for_s": rule.keep_firing_for_s, "advice": rule.advice,
    }  # fmt: skip
