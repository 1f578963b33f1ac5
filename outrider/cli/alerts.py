"""``outrider alerts``: what fires, what changed, who was told; and who says they have it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

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
    """Show alerts that are pending or firing; nothing is listed when all is well.

    \b
    Examples:
      outrider alerts list
      outrider alerts list --history -n 20
    """
    from outrider.alerts import acknowledgement, defaults, journal, labels, log

    columns: tuple[str, ...]
    if show_rules:
        found = [asdict(rule) for rule in defaults.of_settings(here.settings())]
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


def _print_csv(columns: Sequence[str], rows: list[list[Any]]) -> None:
    import csv
    import sys

    from outrider.cli import terminal

    def cell(value: Any) -> str:
        # A spreadsheet would run what begins like a formula.
        text = terminal.safe(value)
        return f"'{text}" if text.lstrip()[:1] in tuple("=+-@") else text

    write: Callable[[Sequence[str]], Any] = csv.writer(sys.stdout).writerow
    write(columns)
    for row in rows:
        write([cell(value) for value in row])
