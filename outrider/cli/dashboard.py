"""``outrider dashboard``: run it, make a password for it, read who came."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here

if TYPE_CHECKING:
    from outrider.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535))
@click.option("--root-path", help="the path that a proxy puts it under, such as /ops")
@click.option("--tls-cert", type=_FILE, help="certificate chain (PEM): it speaks HTTPS")
@click.option("--tls-key", type=_FILE, help="the certificate's private key (PEM)")
@click.option("--flower-url", help="where Flower is, for the links")
@click.pass_context
def dashboard(
    ctx: click.Context,
    *,
    host: str,
    port: int,
    root_path: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    flower_url: str | None,
) -> None:
    """Run the dashboard behind the token in OUTRIDER_DASHBOARD_TOKEN, or for the settings' users.

    \b
    Examples:
      OUTRIDER_DASHBOARD_TOKEN=... outrider dashboard --port 8787
      outrider dashboard password
    """
    if ctx.invoked_subcommand:
        return
    from outrider import settings as settings_module

    found = _changed(
        settings_module.load(), root_path=root_path, tls_cert=tls_cert, tls_key=tls_key
    )
    token = os.environ.get("OUTRIDER_DASHBOARD_TOKEN", "")
    if not (token or found.dashboard.user or found.dashboard.oidc):
        raise click.UsageError(
            "set OUTRIDER_DASHBOARD_TOKEN, or name users in the settings ([[dashboard.user]]): "
            "the page is not shown to everybody."
        )
    from outrider.store import address
    from outrider.web import serve
    from outrider.workers.orders import Given

    serve.run(
        host=host,
        port=port,
        redis_url=address.redis_url(found),
        interval_s=found.interval_s,
        token=token,
        flower_url=flower_url,
        settings=found,
        orders=Given(found),
    )


@dashboard.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["viewer", "operator"]), default="viewer", show_default=True
)
@click.password_option(prompt="Password", help="asked for without it, which no history keeps")
def password(name: str, role: str, password: str) -> None:
    """Print the settings that let NAME in with a password, which is asked for and only hashed.

    \b
    Example: outrider dashboard password ann --role operator >> outrider.toml
    """
    from outrider.web.access import passwords

    click.echo(
        f'\n[[dashboard.user]]\nname = "{_checked_name(name)}"\nrole = "{role}"\n'
        f'password_hash = "{passwords.hashed(password)}"'
    )


@dashboard.command()
@click.option("--refused", is_flag=True, help="whom it turned away, and why")
@click.option("-n", "--lines", "most", default=50, show_default=True, type=click.IntRange(1, 2000))
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def access(refused: bool, most: int, as_json: bool) -> None:
    """Show who logged in, what they did and what came of it, newest first.

    \b
    Example: outrider dashboard access --refused
    """
    from outrider.web.access import record

    _, client, _ = here.opened()
    found = record.read(client, most, refusals=refused)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
        return
    import time

    from outrider.cli import terminal

    columns = ("at", "what", "who", "address", "about", "why", "result")
    rows: list[list[Any]] = [
        [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at_s"])),
         *(entry.get(column, "") for column in columns[1:])]
        for entry in found
    ]  # fmt: skip
    terminal.console.print(terminal.table("", columns, rows))


def _changed(found: Settings, **given: Any) -> Settings:
    """Return settings with what the command line says in the place of ``[dashboard]``."""
    from pydantic import ValidationError

    from outrider.errors import BadArgument
    from outrider.settings_web import DashboardSettings

    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        return found
    try:
        page = DashboardSettings.model_validate({**dict(found.dashboard), **named})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        options = ", ".join(f"--{name.replace('_', '-')}" for name in named)
        raise BadArgument(f"{options}: {said}") from None
    return found.model_copy(update={"dashboard": page})


def _checked_name(name: str) -> str:
    from pydantic import ValidationError

    from outrider.errors import BadArgument
    from outrider.settings_web import DashboardSettings

    known = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"  # of nothing: only the name is checked
    try:
        DashboardSettings.model_validate({"user": [{"name": name, "password_hash": known}]})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadArgument(f"name = {name!r}: {said}") from None
    return name
