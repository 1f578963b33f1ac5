"""Restarts a fleet one process at a time, and stops at the first that does not come back."""

from __future__ import annotations

import time
from typing import Any

import click

from outrider.cli import here, terminal
from outrider.errors import UnknownBot

EXIT_NOT_READY = 1
LOOK_EVERY_S = 0.05
# Beyond the bot's own limits: its supervisor ends it when they are over, and then we see why.
PATIENCE_S = 5.0


def reload(bot: str, why: str) -> int:
    """Restart what runs of ``bot``, one by one; return the exit code."""
    running = [entry for entry in _bots() if entry["state"] not in ("stopped", "failed")]
    chosen = [entry for entry in running if bot in ("all", entry["name"], entry["bot"])]
    if not chosen:
        known = ", ".join(sorted({entry["bot"] for entry in running})) or "none"
        raise UnknownBot(f"no bot {bot!r} runs; running are: {known}.")
    for number, entry in enumerate(chosen):
        reason = _restarted(entry, why)
        if reason:
            _give_up(entry["name"], reason, number, len(chosen))
            return EXIT_NOT_READY
    click.echo(f"all {len(chosen)} run the new code.")
    return 0


def _restarted(before: dict[str, Any], why: str) -> str:
    """Restart one process and wait for it; return why it is not ready, or nothing when it is."""
    name = before["name"]
    (asked,) = here.supervisor("restart", bot=name, who=here.person(), why=why)
    given = here.settings().bots.get(before["bot"])
    deadline = time.monotonic() + PATIENCE_S + (given.ready_timeout_s if given else 30.0)
    while True:
        now = next((entry for entry in _bots() if entry["name"] == name), None)
        if now is None:
            return "it was taken out of the fleet"
        if now["state"] == "ready":
            took = f"{now['start_s']:.3f} s" if now["start_s"] is not None else ""
            note = f"  {now['reason']}" if now["reason"] else ""
            terminal.say(f"  {name:<14}ready    pid {now['pid']}  {took}{note}")
            return ""
        if now["state"] != "starting" or now["crashes"] > asked["crashes"]:
            return str(now["reason"] or now["state"])
        if time.monotonic() > deadline:
            return "it does not say that it is ready"
        time.sleep(LOOK_EVERY_S)


def _give_up(name: str, reason: str, done: int, whole: int) -> None:
    left = whole - done - 1
    terminal.say(
        f"outrider: {name} did not come back: {reason}. Reloaded before it: {done} of {whole}; "
        f"{left} left as they were. Read `outrider bots logs {name}`, mend it, and reload again.",
        err=True,
    )


def _bots() -> list[dict[str, Any]]:
    found = here.supervisor("snapshot")["processes"]
    return [entry for entry in found if entry["kind"] == "bot"]
