"""The command ``outrider top``, and its loop: draw, wait for a key or for news, decide."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from rich.console import Console

    from outrider.cli.top.frame import Screen as Room
    from outrider.cli.top.screen import Screen
    from outrider.cli.top.view import Deed, View
    from outrider.cli.top.watch import Watch

_LEAST_S, _MOST_S = 0.2, 3600.0
_PIPED_WIDTH = 160
_SORTS = ("state", "name", "host", "uptime", "restarts", "cpu", "memory", "lag", "work", "errors")


@click.command()
@click.option("--once", is_flag=True, help="print one plain frame with every bot, and leave")
@click.option("--json", "as_json", is_flag=True, help="print one frame as JSON, and leave")
@click.option("--interval", default="1s", show_default=True, help="how often to look, such as 5s")
@click.option("--sort", default="state", show_default=True, type=click.Choice(_SORTS),
              help="which bots are first")  # fmt: skip
@click.option("--filter", "wanted", default="", help="only bots with this in name, host or state")
def top(once: bool, as_json: bool, interval: str, sort: str, wanted: str) -> None:
    """Watch the fleet: verdict, hosts, alerts, queues, bots; live, with keys.

    Keys: q quits, / filters, p pauses, arrows move, r restarts the bot of the marked line and asks
    first, ? names the keys that sort. With Redis away the last frame stays under a banner. Where
    the output is no terminal, one plain frame is printed, as with --once. NO_COLOR is heeded.

    \b
    Examples:
      outrider top
      outrider top --sort memory --interval 5s
      outrider top --once | head
    """
    interval_s = _seconds(interval)
    if as_json:
        from outrider.web import view

        _, client, store = here.opened()
        click.echo(json.dumps(view.snapshot(store, client, time.time()), indent=2))
        return
    from outrider.cli import terminal
    from outrider.cli.top.view import View

    looks = View(sort=sort, filter=wanted)
    if once or not _is_watched(terminal.console):
        _print_once(terminal.console, looks)
        return
    # What the engine logs of a server that is away stands in the banner; the screen is no log.
    logging.getLogger("outrider").addHandler(logging.NullHandler())
    _live(terminal.console, looks, interval_s)


def _seconds(text: str) -> float:
    from outrider import units

    try:
        found = units.parse_duration(text)
    except ValueError as error:
        raise BadArgument(f"--interval: {error}") from None
    if not _LEAST_S <= found <= _MOST_S:
        raise BadArgument(f"--interval {text}: between {_LEAST_S} s and an hour, such as 5s.")
    return found


def _is_watched(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()


def _room(console: Console, *, is_whole: bool = False) -> Room:
    from outrider.cli.top.frame import Screen as Room

    is_plain = not (console.encoding or "").lower().startswith("utf")
    wished = os.environ.get("COLUMNS", "")
    piped = int(wished) if wished.isdecimal() and int(wished) else _PIPED_WIDTH
    width = console.width if console.is_terminal else piped
    return Room(width, None if is_whole else console.height, is_plain=is_plain)


def _print_once(console: Console, looks: View) -> None:
    from outrider.cli.top import frame
    from outrider.web import view

    _, client, store = here.opened()
    found = view.snapshot(store, client, time.time())
    room = _room(console, is_whole=True)
    for line in frame.draw(found, looks, room):
        console.print(line, soft_wrap=True)


def _live(console: Console, looks: View, interval_s: float) -> None:
    from outrider.cli.top.screen import Screen
    from outrider.cli.top.watch import Lookout, Watch

    lookout = Lookout(here.settings())
    try:
        with Screen(console) as screen, Watch(lookout.look, interval_s, screen.wake) as watch:
            _Session(console, screen, watch, looks).run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # as a shell says it of Ctrl-C


class _Session:
    """One sitting before the screen."""

    def __init__(self, console: Console, screen: Screen, watch: Watch, looks: View) -> None:
        self._console, self._screen, self._watch = console, screen, watch
        self._looks = looks
        self._found: dict[str, Any] | None = None
        self._heard: list[str] = []  # what deeds said, from their threads

    def run(self) -> None:
        """Draw and obey until the operator leaves."""
        from dataclasses import replace

        from outrider.cli.top import frame, view

        while True:
            if self._heard:
                self._looks = replace(self._looks, said=self._heard.pop(0))
                self._watch.ask()
            if not self._looks.paused or self._found is None:
                self._found = self._watch.newest or self._found
            room = _room(self._console)
            self._draw(room)
            for key in self._screen.keys(timeout_s=_MOST_S):
                bots = view.shown(self._looks, self._found["bots"]) if self._found else []
                page = frame.page(self._found, self._looks, room) if self._found else 1
                self._looks, deed = view.press(self._looks, key, bots, page)
                if deed and deed.what == "quit":
                    return
                if deed:
                    self._do(deed)

    def _draw(self, room: Room) -> None:
        from rich.console import Group
        from rich.text import Text

        from outrider.cli.top import frame

        if self._found is None:
            self._screen.show(Text("looking at the fleet ...", "dim"))
            return
        self._screen.show(Group(*frame.draw(self._found, self._looks, room)))

    def _do(self, deed: Deed) -> None:
        from outrider.cli.top import watch

        if deed.what == "redraw" or deed.bot is None:
            self._watch.ask()
            return
        bot = deed.bot
        self._say(f"restarting {bot['name']} ...")
        watch.aside(lambda: _restart(bot), self._say)

    def _say(self, text: str) -> None:
        self._heard.append(text)
        self._screen.wake()


def _restart(bot: dict[str, Any]) -> str:
    """Restart a bot: by the supervisor here, or by a task on the queue of its host."""
    settings, order = here.settings(), {"who": here.person(), "why": "outrider top"}
    if bot["host_key"] == settings.host:
        here.supervisor("restart", bot=bot["name"], **order)
        return f"{bot['name']} restarts"
    from outrider.workers.app import app

    asked = {"bot": bot["name"], "host": bot["host_key"], **order}
    sent = app.send_task("outrider.supervise.restart", kwargs=asked)
    return f"{bot['host']} was asked to restart {bot['name']} (task {sent.id})"
