"""``outrider alerts``: what fires, what changed, who was told."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from outrider.cli import here


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
    """Show alerts that are pending or firing; nothing is listed when all is well.

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
        found = [asdict(rule) for rule in defaults.of_settings(here.settings())]
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
