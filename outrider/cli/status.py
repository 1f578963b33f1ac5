"""``outrider status``: the first screen of the dashboard, in a terminal."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from outrider import units
from outrider.cli import here
from outrider.errors import SupervisorUnavailable


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("-n", "--events", default=10, show_default=True, type=click.IntRange(0, 500))
def status(as_json: bool, events: int) -> None:
    """Say how the fleet is: verdict, hosts, bots, alerts, and what happened last.

    \b
    Examples:
      outrider status
      watch -n 5 outrider status
    """
    from outrider.web import view

    _, client, store = here.opened()
    found = view.snapshot(store, client, time.time())
    found["stack"] = _stack()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _print(found, events)


def _stack() -> dict[str, Any]:
    """Return the parts of Outrider that run here, and what happened to them."""
    try:
        snapshot = here.supervisor("snapshot")
    except SupervisorUnavailable:
        return {"processes": [], "events": []}
    parts = [entry for entry in snapshot["processes"] if entry["kind"] == "stack"]
    return {"processes": parts, "events": snapshot["events"]}


def _print(found: dict[str, Any], most: int) -> None:
    from outrider.cli import terminal

    say, now_s = terminal.console.print, found["now_s"]
    age = found["data_age_s"]
    say(terminal.safe(found["verdict"]["text"]), style="bold", markup=False)
    say("no data yet" if age is None else f"newest data {age:.0f} s old", style="dim")
    say()
    if found["bots"]:
        rows = [
            (bot["name"], bot["host"], bot["state"], _since(bot["uptime_s"]),
             _number(bot["restarts"], "{:.0f}"),
             _number(bot["cpu_ratio"], "{:.1%}"), _bytes(bot["rss_bytes"]), bot["reason"] or "")
            for bot in found["bots"]
        ]  # fmt: skip
        columns = ("bot", "host", "state", "up for", "restarts", "cpu", "memory", "why")
        say(terminal.table("", columns, rows))
        say()
    if found["stack"]["processes"]:
        parts = [
            (part["name"], part["state"], part["pid"] or "", _since(now_s - part["since_s"]),
             part["restarts"], part["reason"])
            for part in found["stack"]["processes"]
        ]  # fmt: skip
        say(terminal.table("", ("outrider", "state", "pid", "for", "restarts", "why"), parts))
        say()
    for alert in found["alerts"]:
        style = terminal.STATE_STYLE.get(alert["severity"], "")
        say(terminal.safe(f"! {alert['summary']}"), style=style, markup=False)
    lines = _events(found)[:most]
    if lines:
        say(terminal.table("", ("at", "what happened", "", ""), lines))


def _events(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the stack's events and the fleet's, newest first."""
    own = [(e["at_s"], e["name"], e["what"], e["detail"]) for e in found["stack"]["events"]]
    own += [
        (e["at_s"], "alert", e["what"], e["text"])
        for e in found["events"]
        if e.get("kind") == "alert"
    ]
    own.sort(key=lambda event: -event[0])
    return [
        (time.strftime("%H:%M:%S", time.localtime(at_s)), *(str(part) for part in rest))
        for at_s, *rest in own
    ]


def _since(seconds: float | None) -> str:
    return "" if seconds is None else units.show_duration(max(0.0, seconds))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _bytes(value: float | None) -> str:
    return "" if value is None else units.show_bytes(value)
