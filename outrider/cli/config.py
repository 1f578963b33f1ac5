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
    import psutil

    from outrider.supervisor import budget
    from outrider.workers import preflight

    settings, path = preflight.load()
    processes = sum(bot.first_instances for bot in settings.bots.values())
    where = path or "no outrider.toml found; these are the defaults"
    click.echo(f"{where}: all right ({len(settings.bots)} bots, {processes} processes).")
    promised = budget.of(
        settings,
        host_memory_bytes=psutil.virtual_memory().total,
        host_cores=psutil.cpu_count() or 1,
    )
    if not promised.fits:
        click.echo(f"warning: {promised}.", err=True)


@config.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option(
    "--series",
    type=click.IntRange(0, 10_000_000),
    metavar="N",
    help="predict the memory of N series; else of about those that this host and its bots have",
)
def show(as_json: bool, series: int | None) -> None:
    """Print every setting with its value, and the memory that series will take in the server.

    Secrets are hidden. The prediction is for a full retention, within about 30 % for the usual mix
    of series; sketches of timings and caches come on top.
    """
    from outrider import settings as settings_module
    from outrider import units
    from outrider.cli import terminal
    from outrider.store import prediction

    found = settings_module.load()
    expected = prediction.predict(found, series=series)
    plain = json.loads(found.model_dump_json())
    for bot in plain["bots"].values():  # where bots get their tokens from
        bot["env"] = dict.fromkeys(bot["env"], _HIDDEN)
    for hook in plain["notify"]["webhook"]:  # whoever knows it may post there
        hook["url"] = _HIDDEN
    if as_json:
        predicted = {
            "series": expected.series,
            "bytes": expected.by_tier,
            "total_bytes": expected.total_bytes,
        }
        click.echo(json.dumps(plain | {"predicted_memory": predicted}, indent=2))
        return
    rows = [
        (name, json.dumps(plain[name]), field.description or "")
        for name, field in type(found).model_fields.items()
    ]
    terminal.console.print(terminal.table("", ("setting", "value", "what it is"), rows))
    tiers = ", ".join(f"{name} {units.show_bytes(of)}" for name, of in expected.by_tier.items())
    terminal.console.print(
        f"\npredicted memory of {expected.series:,} series over the retention: "
        f"{units.show_bytes(expected.total_bytes)} ({tiers})"
    )
