"""``outrider config``: what is set, where it comes from, and whether it is right."""

from __future__ import annotations

import json

import click

_HIDDEN = "**********"


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
def check() -> None:
    """Check outrider.toml and the environment; print every mistake with its line and remedy.

    Exit code 0 when all is right, 2 otherwise. Nothing is started or changed.
    """
    from outrider.workers import preflight

    settings, path = preflight.load()
    processes = sum(bot.instances for bot in settings.bots.values())
    where = path or "no outrider.toml found; these are the defaults"
    click.echo(f"{where}: all right ({len(settings.bots)} bots, {processes} processes).")


@config.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(as_json: bool) -> None:
    """Print every setting with its value; secrets are hidden."""
    from outrider import settings as settings_module
    from outrider.cli import terminal

    found = settings_module.load()
    plain = json.loads(found.model_dump_json())
    for bot in plain["bots"].values():  # where bots get their tokens from
        bot["env"] = dict.fromkeys(bot["env"], _HIDDEN)
    if plain["notify"]["webhook"]:  # whoever knows it may post there
        plain["notify"]["webhook"]["url"] = _HIDDEN
    if as_json:
        click.echo(json.dumps(plain, indent=2))
        return
    rows = [
        (name, json.dumps(plain[name]), field.description or "")
        for name, field in type(found).model_fields.items()
    ]
    terminal.console.print(terminal.table("", ("setting", "value", "what it is"), rows))
