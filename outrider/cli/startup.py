"""``outrider bots startup``: where a bot's start goes, and what the zygote saves."""

from __future__ import annotations

import asyncio
import json
import statistics
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider.errors import RedisUnavailable, UnknownBot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.supervisor.spec import ProcessSpec
    from outrider.supervisor.startup import Startup

_SHOWN_MODULES = 10


@click.command()
@click.argument("name")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def startup(name: str, runs: int, as_json: bool) -> None:
    """Measure the start of bot NAME by starting it, plainly and from the zygote.

    It runs as its settings say, beside one that is at work already, and is stopped as soon as it is
    ready: twice RUNS times, and two more. Do not measure what must not run twice.

    \b
    Example: outrider bots startup canary --runs 20
    """
    from outrider.supervisor import startup as measuring

    found = asyncio.run(measuring.measure(_spec(name), runs=runs))
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        _print(name, found)


def _spec(name: str) -> ProcessSpec:
    from outrider import settings as settings_module
    from outrider.cli import here
    from outrider.store import address
    from outrider.supervisor import spec as specs
    from outrider.workers import stack

    settings, config = here.settings(), settings_module.find_file()
    redis_url = ""
    with suppress(RedisUnavailable):
        redis_url = address.redis_url(settings)

    def env_of(bot: str) -> Mapping[str, str]:
        env = stack.bot_environment(
            settings, bot, redis_url=redis_url, telemetry=Path("set later"), channel=Path(),
            config=config, pool=None,
        )  # fmt: skip
        return {key: value for key, value in env.items() if value}

    for spec in specs.of_fleet(settings, base=stack.base_folder(config), env_of=env_of):
        if name == spec.name:
            return spec
    known = ", ".join(settings.bots) or "none"
    raise UnknownBot(f"no bot {name!r}; this fleet has: {known}.")


def _print(name: str, found: Startup) -> None:
    from outrider.cli import terminal

    phases = found.phases
    rows = [
        ("interpreter", phases.interpreter_ms, "python -c pass, the same for every program"),
        ("imports", phases.imports_ms, f"{len(found.modules)} modules; the longest are below"),
        ("connects", phases.connects_ms, "waiting for other servers, after the imports"),
        ("warming", phases.warming_ms, "the bot's own work until bot.ready()"),
        ("until ready", phases.ready_ms, "with tracing, which costs a little"),
    ]
    shown = [(what, f"{ms:.1f}", note) for what, ms, note in rows]
    say = terminal.console.print
    say(terminal.table(f"{name}: a plain start", ("phase", "ms", ""), shown))
    longest = [(module, f"{ms:.1f}") for module, ms in found.modules[:_SHOWN_MODULES]]
    say()
    say(terminal.table("longest imports", ("module", "own ms"), longest))
    say()
    ways = [("plain", *_spread(found.plain_ms))]
    if found.zygote_ms:
        ways.append(("from the zygote", *_spread(found.zygote_ms)))
    columns = ("until ready", "median ms", "least", "most", "starts")
    say(terminal.table("without tracing", columns, ways))
    if found.zygote_ms and found.boot_ms is not None:
        plain, forked = map(statistics.median, (found.plain_ms, found.zygote_ms))
        say(f"The zygote saves {plain - forked:.0f} ms a start ({plain / forked:.0f} times quicker)"
            f"; it boots once in {found.boot_ms:.0f} ms, the first bot included.")  # fmt: skip
    else:
        say(found.why_not or "It is not forked: its settings say fork = false.", markup=False)


def _spread(values_ms: list[float]) -> tuple[str, str, str, int]:
    numbers = statistics.median(values_ms), min(values_ms), max(values_ms)
    median, least, most = (f"{number:.1f}" for number in numbers)
    return median, least, most, len(values_ms)
