"""The ``outrider`` command. Each subcommand lives in its own module and is imported when called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from outrider.errors import (
    Mistakes,
    OutriderError,
    RedisUnavailable,
    SettingsError,
    SupervisorUnavailable,
)

EXIT_BAD_INPUT = 2
EXIT_UNAVAILABLE = 3

# Name -> (module:attribute, help). The help stands here so that `outrider --help` imports nothing.
_COMMANDS = {
    "up": ("up:up", "Run the whole stack here: Redis, worker, beat, Flower, dashboard, bots."),
    "status": ("status:status", "Say how the fleet is: verdict, bots, alerts, what happened."),
    "top": ("top.command:top", "Watch the fleet live, as with top or htop; --once for one frame."),
    "bots": ("bots:bots", "List, start, stop and restart bots; read their logs."),
    "report": (
        "report:report",
        "Say what is wrong, since when, why, what to do; pictures.",
    ),
    "run": ("run:run", "Run any task now, with its progress and result."),
    "alerts": ("alerts:alerts", "Show alerts and who was told; acknowledge, silence, snooze."),
    "slo": ("slo:slo", "Show objectives and error budgets; report, replay, plan maintenance."),
    "metrics": ("metrics:metrics", "List, show and export what was measured."),
    "db": ("db:db", "Plan the fleet's database connections, and see who has how many."),
    "validate": ("validate:validate", "Measure the running stack against its targets."),
    "cache": ("cache:cache", "See whether caches pay, and what would make them pay more."),
    "warm": ("warm:warm", "Fill a cache from its hottest keys, as after a restart."),
    "config": ("config:config", "Show and check the settings."),
    "doctor": ("doctor:doctor", "Find what is wrong with this installation."),
    "worker": ("services:worker", "Run only this host's Celery worker."),
    "beat": ("services:beat", "Run only beat, which sends the periodic tasks."),
    "flower": ("services:flower", "Run only Flower, behind a password."),
    "dashboard": ("dashboard:dashboard", "Run only the dashboard; who may open it, and who did."),
    "supervise": ("services:supervise", "Run only the bots of this host, against a given Redis."),
}


class Commands(click.Group):
    """Finds subcommands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(f"outrider.cli.{module}"), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is no text: Python hands on bytes that are not UTF-8 as half letters."""
        for each in args:
            try:
                each.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"{each!a} is not UTF-8.", ctx) from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Turn our errors into one clear line and an exit code."""
        try:
            return super().invoke(ctx)
        except OutriderError as error:
            from outrider.cli import terminal

            said = f"outrider: {error}"
            is_written = isinstance(error, SettingsError | Mistakes)  # by their owner, in lines
            terminal.say(*(said.split("\n") if is_written else [said]), err=True)
            away = isinstance(error, RedisUnavailable | SupervisorUnavailable)
            sys.exit(EXIT_UNAVAILABLE if away and not error.permanent else EXIT_BAD_INPUT)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: `outrider up`, then in another terminal `outrider status` and "
    "`outrider bots logs canary`. Settings: outrider.toml here, or OUTRIDER_CONFIG.",
)
@click.version_option(package_name="outrider")
def main() -> None:
    """Outrider rides beside your bots: it measures, explains, warns, tunes and restarts them."""
