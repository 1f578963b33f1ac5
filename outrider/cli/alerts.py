"""``outrider alerts``: what fires, who was told, who says they have it; trying rules out."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here
from outrider.errors import BadArgument, Mistakes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

    from outrider.alerts.replay import Replay
    from outrider.alerts.rules import Rule
    from outrider.settings import Settings

# More instances than this on a screen are a list that nobody reads.
_MOST_SHOWN = 40

_PICKS = """\
ALERTS are patterns that must all match, * for anything: bot=canary*, host=alpha, severity=warning,
rule='bot is down', instance=..."""


@click.group(epilog=_PICKS)
def alerts() -> None:
    """Show alerts and who was told; acknowledge, silence, snooze and comment them."""


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from outrider import units

        try:
            return units.parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_AS_JSON = click.option("--json", "as_json", is_flag=True, help="print JSON")
_MOST = click.option(
    "-n", "--most", default=50, show_default=True, type=click.IntRange(1, 10_000), help="how many"
)
_COMMENT = click.option("-m", "--comment", default="", help="why; others will read it")
_ALERTS = click.argument("alerts", nargs=-1, required=True, metavar="ALERTS...")


@alerts.command("list")
@click.option("--history", is_flag=True, help="every change of state, newest first")
@click.option("--told", is_flag=True, help="who was told, when, with what result")
@click.option("--rules", "show_rules", is_flag=True, help="the rules in force")
@_MOST
@_AS_JSON
def list_(history: bool, told: bool, show_rules: bool, most: int, as_json: bool) -> None:
    """Show alerts that fire, are about to, or were resolved in the last quarter of an hour.

    \b
    Examples:
      outrider alerts list
      outrider alerts list --history -n 20
    """
    from outrider.alerts import acknowledgement, defaults, journal, labels, log

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
            rows = [[_at(e["at_s"]), *(e[name] for name in columns[1:])] for e in found]
        elif told:
            found = log.read(client, most)
            columns = ("at", "channel", "result", "rule", "instance", "to")
            rows = [[_at(e["at_s"]), *(e[name] for name in columns[1:])] for e in found]
        else:
            active = [asdict(a) for host in store.hosts() for a in journal.active(client, host)]
            acks = acknowledgement.of(client, [labels.key(alert) for alert in active])
            found = [
                alert | {"ack": asdict(has_it) if (has_it := acks.get(labels.key(alert))) else None}
                for alert in active
            ]
            columns = ("since", "host", "severity", "state", "has it", "summary")
            rows = [
                [
                    _at(one["since_s"]), one["host"], one["severity"], one["state"],
                    one["ack"]["author"] if one["ack"] else "",
                    one["summary"] or labels.key(one),
                ]
                for one in found
            ]  # fmt: skip
    nothing = "nothing fires." if not (history or told) else "nothing yet."
    _print(found, columns, rows, nothing, as_json=as_json)


@alerts.command()
@_ALERTS
@click.option("--for", "lasts_s", type=_Duration(), help="for a time; until it clears without it")
@click.option("--undo", is_flag=True, help="take it back: people are told again")
@_COMMENT
def ack(alerts: tuple[str, ...], lasts_s: float | None, undo: bool, comment: str) -> None:
    """Say that you have these alerts: no reminder and no escalation until they clear.

    \b
    Examples:
      outrider alerts ack bot=canary -m "restarting it"
      outrider alerts ack severity=warning host=alpha --for 2h
    """
    from outrider.alerts import acknowledgement, groups

    client, found = _picked(alerts)
    now_s, author = time.time(), here.person()
    if undo:
        acknowledgement.withdraw(client, found, author=author, now_s=now_s)
    else:
        acknowledgement.add(
            client, found, author=author, now_s=now_s, lasts_s=lasts_s, comment=comment
        )
    groups.wake(client, now_s)
    _done("taken back" if undo else "acknowledged", found)


@alerts.command()
@_ALERTS
@click.option("--for", "lasts_s", type=_Duration(), required=True, help="for how long")
@_COMMENT
def snooze(alerts: tuple[str, ...], lasts_s: float, comment: str) -> None:
    """Hear of these alerts again after a time, if they still fire then.

    \b
    Example: outrider alerts snooze bot=canary --for 30m
    """
    from outrider.alerts import acknowledgement, groups

    client, found = _picked(alerts)
    now_s = time.time()
    acknowledgement.add(
        client, found, author=here.person(), now_s=now_s, lasts_s=lasts_s, comment=comment,
        kind="snooze",
    )  # fmt: skip
    groups.wake(client, now_s)
    _done("snoozed", found)


@alerts.command()
@_ALERTS
@click.argument("text")
def comment(alerts: tuple[str, ...], text: str) -> None:
    """Leave a comment on these alerts.

    \b
    Example: outrider alerts comment bot=canary "the provider is down, see their status page"
    """
    from outrider.alerts import comments

    client, found = _picked(alerts)
    for key in found:
        comments.add(client, key, author=here.person(), text=text, now_s=time.time())
    _done("commented", found)


@alerts.command()
@_ALERTS
@click.option("--for", "lasts_s", type=_Duration(), required=True, help="for how long")
@_COMMENT
def silence(alerts: tuple[str, ...], lasts_s: float, comment: str) -> None:
    """Have nobody told of alerts that match, those to come as well.

    \b
    Example: outrider alerts silence host=alpha --for 2h -m "new disk"
    """
    from outrider.alerts import labels, silences
    from outrider.cli import terminal

    _, client, _ = here.opened()
    made = silences.add(
        client, labels.parse(alerts), author=here.person(), now_s=time.time(), lasts_s=lasts_s,
        comment=comment,
    )  # fmt: skip
    terminal.console.print(f"{made.id}: silenced until {_at(made.ends_s)}")


@alerts.command()
@click.argument("silence_id", metavar="ID")
def unsilence(silence_id: str) -> None:
    """End a silence now.

    \b
    Example: outrider alerts unsilence 4f1c0a2b77de
    """
    from outrider.alerts import groups, silences

    _, client, _ = here.opened()
    silences.end(client, silence_id, time.time())
    groups.wake(client, time.time())
    _done("ended", [silence_id])


@alerts.command("silences")
@click.option("--ended", is_flag=True, help="those of the last week as well")
@_AS_JSON
def silences_(ended: bool, as_json: bool) -> None:
    """List silences, their authors and ends."""
    from outrider.alerts import silences, wording

    _, client, _ = here.opened()
    found = silences.read(client, time.time(), ended=ended)
    columns = ("id", "alerts", "author", "until", "comment")
    rows = [[s.id, wording.spell(s.match), s.author, _at(s.ends_s), s.comment] for s in found]
    _print([asdict(one) for one in found], columns, rows, "nothing is silenced.", as_json=as_json)


@alerts.command()
@click.option("--waiting", is_flag=True, help="what is still to be told, and when")
@click.option("--comments", is_flag=True, help="what people said and did")
@click.option("--csv", "as_csv", is_flag=True, help="print CSV")
@_MOST
@_AS_JSON
def log(waiting: bool, comments: bool, as_csv: bool, most: int, as_json: bool) -> None:
    """Show who was told of what, when, by which channel, with what result, and when next.

    \b
    Examples:
      outrider alerts log -n 20
      outrider alerts log --waiting
    """
    from outrider.alerts import comments as said
    from outrider.alerts import delivery
    from outrider.alerts import log as told

    settings, client, _ = here.opened()
    columns: tuple[str, ...]
    if waiting:
        found = delivery.waiting(client, settings.notify.channels(), most)
        columns = ("next", "channel", "tries", "text", "error")
    elif comments:
        found = said.read(client, most)
        columns = ("at", "author", "did", "alert", "text")
    else:
        found = told.read(client, most)
        columns = ("at", "channel", "kind", "result", "next", "text")
    shown = {"at": "at_s", "next": "next_s"}
    rows = [
        [_at(one[shown[name]]) if name in shown else one[name] for name in columns] for one in found
    ]
    if as_csv:
        _print_csv(columns, rows)
    else:
        _print(found, columns, rows, "nothing yet.", as_json=as_json)


@alerts.command("send-test")
@click.argument("channels", nargs=-1)
def send_test(channels: tuple[str, ...]) -> None:
    """Send a test message by CHANNELS, or by every channel, and say how it went.

    \b
    Example: outrider alerts send-test slack email
    """
    from outrider.alerts import message, ways
    from outrider.cli import terminal
    from outrider.errors import BadArgument, DeliveryError

    every = {channel.name: channel for channel in ways.of_settings(here.settings())}
    if unknown := set(channels) - set(every):
        raise BadArgument(
            f"{', '.join(sorted(unknown))}: no such channel. Known: {', '.join(every)}."
        )
    failed = False
    for name in channels or every:
        try:
            result = every[name].deliver(message.of_test(time.time()))
        except DeliveryError as error:
            result, failed = f"failed: {error}", True
        terminal.console.print(f"{name}: {terminal.safe(result)}", markup=False)
    if failed:
        raise SystemExit(1)


def _picked(patterns: Sequence[str]) -> tuple[redis.Redis, list[str]]:
    """Return a client and the alerts that match. Raises BadArgument when none does."""
    from outrider.alerts import journal, labels
    from outrider.errors import BadArgument

    matcher = labels.parse(patterns)
    _, client, store = here.opened()
    active = [asdict(alert) for host in store.hosts() for alert in journal.active(client, host)]
    found = [labels.key(one) for one in active if labels.matches(matcher, labels.of(one))]
    if not found:
        raise BadArgument(
            f"No alert matches {' '.join(patterns)}; `outrider alerts list` shows what fires."
        )
    return client, found


def _done(what: str, alerts: Sequence[str]) -> None:
    from outrider.cli import terminal

    for alert in alerts:
        terminal.console.print(f"{what}: {terminal.safe(alert)}", markup=False)


def _at(time_s: float | None) -> str:
    if time_s is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def _print(
    found: Any, columns: Sequence[str], rows: list[list[Any]], nothing: str, *, as_json: bool
) -> None:
    from outrider.cli import terminal

    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not rows:
        terminal.console.print(nothing)
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
        why = (
            f"no rule is called {text!r} (`outrider alerts list --rules` names them), and it is "
            f"no condition: {error}"
        )
        raise Mistakes([why]) from None


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


def _print_csv(columns: Sequence[str], rows: list[list[Any]]) -> None:
    import csv
    import sys

    from outrider import outside

    write: Callable[[Sequence[str]], Any] = csv.writer(sys.stdout).writerow
    write(columns)
    for row in rows:
        write([outside.cell(value) for value in row])
