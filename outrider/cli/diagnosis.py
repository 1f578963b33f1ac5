"""How ``outrider bots show`` prints what is known of one bot."""

from __future__ import annotations

import time
from typing import Any

from outrider import units
from outrider.cli import terminal


def show(found: dict[str, Any], now_s: float) -> None:
    """Print one bot's diagnosis, as the supervisor gave it."""
    say = terminal.console.print
    style = terminal.STATE_STYLE.get(found["state"], "")
    since = units.show_duration(max(0.0, now_s - found["since_s"]))
    name, state = terminal.safe(found["name"]), terminal.safe(found["state"])
    say(f"{name}: {state} for {since}", style=style, markup=False)
    facts = [
        ("why", found["reason"]),
        ("pid", f"{found['pid']} ({found['how']})" if found["pid"] else ""),
        ("ready after", units.show_duration(found["start_s"]) if found["start_s"] else ""),
        ("restarts", f"{found['restarts']}, crashes {found['crashes']}"),
        ("measured", _numbers(found["measured"])),
    ]
    for name, fact in facts:
        if fact:
            say(f"  {name:<12} {terminal.safe(fact)}", markup=False, soft_wrap=True)
    for report in found["crash_reports"][-3:]:
        _crash(report)
    if found["log"]:
        say("  last lines", style="dim")
        _lines(found["log"])
    rows = [(_at(event["at_s"]), event["what"], event["detail"]) for event in found["events"]]
    say(terminal.table("events", ("at", "what", "why"), rows))


def _crash(report: dict[str, Any]) -> None:
    say = terminal.console.print
    lived = units.show_duration(report["lived_s"])
    say(
        f"  crash at {_at(report['at_s'])}: {terminal.safe(report['words'])} after {lived},"
        f" pid {report['pid'] or 'none'}, crash no. {report['crashes']};"
        f" then {terminal.safe(report['then'])}",
        markup=False, soft_wrap=True, style="yellow",
    )  # fmt: skip
    if report["metrics"]:
        say(f"    {terminal.safe(_numbers(report['metrics']))}", markup=False, soft_wrap=True)
    _lines(report["log"][-5:])


def _lines(lines: list[str]) -> None:
    for line in lines:
        terminal.console.print(f"    {terminal.line(line)}", markup=False, soft_wrap=True)


def _numbers(numbers: dict[str, float]) -> str:
    shown = {
        name: units.show_bytes(value) if name.endswith("_bytes") else f"{value:g}"
        for name, value in numbers.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _at(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
