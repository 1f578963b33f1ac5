"""``outrider run``: any task by name, now, with its progress and its result."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from outrider.cli import here
from outrider.errors import BadArgument

EXIT_TASK_FAILED = 1
NOT_TAKEN_AFTER_S = 10.0


@click.command()
@click.argument("task", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--timeout", default=120.0, show_default=True, help="seconds to wait for the result")
@click.option("--no-wait", is_flag=True, help="print the task's id and leave")
@click.option("--list", "list_", is_flag=True, help="print the names of all tasks")
def run(
    task: str | None,
    arguments: tuple[str, ...],
    timeout: float,
    no_wait: bool,
    list_: bool,
) -> None:
    """Enqueue TASK, wait for it, and print its result as JSON.

    Values are JSON where they parse as such, else text. The prefix `outrider.` may be left out.

    \b
    Examples:
      outrider run --list
      outrider run tune.database
      outrider run supervise.restart bot=canary why="stuck since noon"
      outrider run supervise.scale bot=canary instances=3
    """
    if list_ or not task:
        click.echo("\n".join(task_names()))
        return
    here.opened()
    from outrider.workers.app import app

    name = task if task.startswith("outrider.") else f"outrider.{task}"
    if name not in task_names():
        raise BadArgument(f"no task {name!r}; `outrider run --list` shows all.")
    sent = app.send_task(name, kwargs=dict(_pair(text) for text in arguments))
    if no_wait:
        click.echo(sent.id)
        return
    _wait(sent, name, timeout)


def task_names() -> list[str]:
    """Return the names of all tasks."""
    from celery import current_app

    import outrider.tasks  # noqa: F401 - registers them

    current_app.finalize(auto=True)
    return sorted(name for name in current_app.tasks if name.startswith("outrider."))


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise BadArgument(f"{text!r} is no argument; write it like bot=canary.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _wait(sent: Any, name: str, timeout_s: float) -> None:
    from celery.exceptions import TimeoutError as TooLate

    from outrider.cli import terminal

    start, shown = time.monotonic(), ""
    with terminal.console.status("", spinner="dots") as status:
        while not sent.ready():
            waited_s = time.monotonic() - start
            state = {"PENDING": "waiting for a worker", "STARTED": "running"}.get(
                sent.state, sent.state.lower()
            )
            if state != shown:
                click.echo(f"{name}: {state}", err=True)
                shown = state
            status.update(f"{name}: {state} for {waited_s:.0f} s")
            if waited_s > timeout_s:
                raise click.ClickException(
                    f"no result after {timeout_s:.0f} s; it goes on. See Flower, or task {sent.id}."
                )
            if waited_s > NOT_TAKEN_AFTER_S and sent.state == "PENDING" and shown:
                status.update(f"{name}: no worker took it yet; is one running? (outrider status)")
            time.sleep(0.05)
    try:
        result = sent.get(timeout=5)
    except TooLate:
        raise click.ClickException("the result is gone; results are kept for an hour.") from None
    except Exception as error:  # noqa: BLE001 - whatever the task raised, by its name
        click.echo(f"{name} failed: {type(error).__name__}: {terminal.safe(error)}", err=True)
        sys.exit(EXIT_TASK_FAILED)
    click.echo(json.dumps(result, indent=2))
