"""``outrider up``: the whole stack in one terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING

import click

from outrider import units
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from rich.console import Group

    from outrider.workers.check import Check, Result
    from outrider.workers.stack import Stack

EXIT_CHECK_FAILED = 1
# One tick before the drill, three for the alert, and a little to look back on.
LEAST_CHECK_TICKS = 4.5


@click.command()
@click.option("--for", "for_", metavar="DURATION", help="stop after this long, such as 60s or 10m")
@click.option("--check", is_flag=True, help="kill one bot, follow the alert, and say what was seen")
def up(for_: str | None, check: bool) -> None:
    """Run everything on this host: Redis, worker, beat, Flower, dashboard, and your bots.

    Ctrl-C stops it all; a supervisor that is killed is replaced, and the bots go on. Without
    OUTRIDER_REDIS_URL an embedded Valkey is used, which keeps its data in .outrider.

    \b
    Examples:
      outrider up                      run until Ctrl-C
      outrider up --for 60s --check    prove that it works here, exit 0 if it does
    """
    from outrider.cli import terminal
    from outrider.workers import preflight, runner
    from outrider.workers.stack import Stack

    settings, path = preflight.load()
    duration_s = _duration(for_, least_s=LEAST_CHECK_TICKS * settings.interval_s if check else 0)
    began_s = time.monotonic()
    runner.stay_behind(terminal.warn)
    if duration_s is not None:
        duration_s = max(0.0, duration_s - (time.monotonic() - began_s))
    raise SystemExit(asyncio.run(_run(Stack(settings, config=path), duration_s, check=check)))


def _duration(text: str | None, *, least_s: float) -> float | None:
    try:
        duration_s = units.parse_duration(text) if text else None
    except ValueError as error:
        raise BadArgument(f"--for: {error}") from None
    if least_s and (duration_s is None or duration_s < least_s):
        raise BadArgument(f"--check needs a run of at least {least_s:.0f} s: --for {least_s:.0f}s.")
    return duration_s


async def _run(stack: Stack, duration_s: float | None, *, check: bool) -> int:
    from outrider.cli import terminal

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    await stack.open()
    try:
        starting = asyncio.ensure_future(stack.start(terminal.progress))
        interrupted = asyncio.ensure_future(ended.wait())
        await asyncio.wait((starting, interrupted), return_when=asyncio.FIRST_COMPLETED)
        if ended.is_set():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return 0
        starting.result()
        _say_where(stack)
        return await _stay(stack, duration_s, ended, check=check)
    finally:
        terminal.console.print("stopping ...", style="dim")
        await stack.stop()
        terminal.console.print("stopped; nothing is left running.", style="dim")


async def _stay(
    stack: Stack, duration_s: float | None, ended: asyncio.Event, *, check: bool
) -> int:
    from outrider.cli import terminal
    from outrider.workers.check import Check

    view = asyncio.ensure_future(_show(stack))
    running = Check(stack) if check else None
    drilling = asyncio.ensure_future(_drill_later(running, stack)) if running else None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(duration_s):
            await ended.wait()
    view.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await view
    if running is None or drilling is None:
        return 0
    drilling.cancel()
    result = await running.finish()
    _summarise(result, stack.settings.interval_s)
    failures = result.failures()
    if ended.is_set() and failures:
        terminal.console.print("interrupted before the check was complete.", style="yellow")
    return EXIT_CHECK_FAILED if failures else 0


async def _drill_later(check: Check, stack: Stack) -> None:
    """Let a tick pass first, so that the death is a change and not the first thing ever seen."""
    await asyncio.sleep(1.5 * stack.settings.interval_s)
    await check.drill()


def _say_where(stack: Stack) -> None:
    from outrider.cli import terminal
    from outrider.store.connection import without_password
    from outrider.workers.stack import FLOWER_USER

    at = stack.addresses
    assert at is not None
    say = terminal.console.print
    say()
    if at.dashboard_url:
        say(f"  dashboard  {at.dashboard_url}/?token={at.dashboard_token}", soft_wrap=True)
    if at.flower_url:
        say(f"  flower     {at.flower_url}  user {FLOWER_USER}, password {at.flower_password}",
            soft_wrap=True)  # fmt: skip
    say(f"  redis      {without_password(at.redis_url)}")
    say(f"  logs       {stack.supervisor.logs_dir}", soft_wrap=True)
    say("  Ctrl-C stops everything. In another terminal: outrider status", style="dim")
    say()


async def _show(stack: Stack) -> None:
    """Keep a live table where somebody watches; print what happens elsewhere."""
    if sys.stdout.isatty():
        await _live_table(stack)
    else:
        await _event_lines(stack)


async def _live_table(stack: Stack) -> None:
    from rich.live import Live

    from outrider.cli import terminal

    with Live(console=terminal.console, auto_refresh=False) as live:
        while True:
            live.update(_table(stack), refresh=True)
            await asyncio.sleep(1)


def _table(stack: Stack) -> Group:
    from rich.console import Group

    from outrider.cli import terminal

    now_s = time.time()
    statuses = [process.status() for process in stack.supervisor.processes.values()]
    rows = [
        (s.name, s.state, s.pid or "", units.show_duration(max(0.0, now_s - s.since_s)),
         s.restarts, s.reason)
        for s in statuses
    ]  # fmt: skip
    ready = sum(s.state == "ready" for s in statuses)
    title = f"{time.strftime('%H:%M:%S')}  {ready} of {len(statuses)} ready"
    table = terminal.table(title, ("process", "state", "pid", "for", "restarts", "why"), rows)
    events = [
        (time.strftime("%H:%M:%S", time.localtime(event["at_s"])), event["name"], event["what"],
         event["detail"])
        for event in list(stack.supervisor.events)[-6:]
    ]  # fmt: skip
    return Group(table, "", terminal.table("last events", ("at", "what", "", ""), events))


async def _event_lines(stack: Stack) -> None:
    from outrider.cli import terminal

    seen = stack.supervisor.events[-1]["id"] if stack.supervisor.events else ""
    while True:
        await asyncio.sleep(0.5)
        fresh: list[dict[str, object]] = []
        for event in reversed(stack.supervisor.events):
            if event["id"] == seen:
                break
            fresh.append(event)
        for event in reversed(fresh):
            at = time.strftime("%H:%M:%S", time.localtime(float(str(event["at_s"]))))
            name, detail = terminal.safe(event["name"]), terminal.safe(event["detail"])
            terminal.console.print(
                f"  {at} {name:<14}{event['what']} {detail}",
                soft_wrap=True, markup=False,
            )  # fmt: skip
            seen = str(event["id"])


def _summarise(result: Result, interval_s: float) -> None:
    from outrider.cli import terminal

    def took(seconds: float | None) -> str:
        return "did not happen" if seconds is None else f"after {units.show_duration(seconds)}"

    report = "none" if result.report_age_s is None else f"{result.report_age_s:.0f} s old"
    rows = [
        ("ticks", f"{result.ticks} of {result.ticks_expected} stored, one every {interval_s:g} s"),
        ("bots", f"{len(result.bots)}: {', '.join(result.bots)}"),
        ("analysis", f"{report}: {result.verdict}" if result.verdict else report),
        ("drill", f"{result.drilled} was killed (SIGKILL)" if result.drilled else "not run"),
        ("  noticed", took(result.noticed_s)),
        ("  running again", took(result.ready_again_s)),
        ("  alert fired", took(result.alerted_s)),
        ("  notified", took(result.notified_s)),
    ]
    terminal.console.print()
    terminal.console.print(terminal.table("check", ("what", "measured"), rows))
    failures = result.failures()
    for failure in failures:
        terminal.console.print(f"  missing: {failure}", style="bold red", markup=False)
    terminal.console.print("check failed" if failures else "check passed: every promise held.",
                           style="bold red" if failures else "green")  # fmt: skip
