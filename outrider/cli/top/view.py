"""How an operator looks at the fleet: order, filter, place, question; and what each key does to it.

Decided without a terminal: a key and the bots in sight go in, the next look and maybe a deed come
out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from outrider.cli.top import columns

Bot = dict[str, Any]
Name = tuple[str, str]
LONGEST_FILTER = 100


@dataclass(frozen=True, slots=True)
class Deed:
    """What the operator wants done: ``quit``, ``redraw``, or ``restart`` of a bot."""

    what: str
    bot: Bot | None = None


@dataclass(frozen=True, slots=True)
class View:
    """``selected`` is a bot by host and name, so that it stays selected wherever it moves.

    ``typing`` is set while the filter is being typed, ``asking`` while a restart waits for its yes.
    """

    sort: str = "state"
    turned: bool = False
    filter: str = ""
    typing: bool = False
    paused: bool = False
    help: bool = False
    selected: Name | None = None
    asking: Bot | None = None
    said: str = ""


def name_of(bot: Bot) -> Name:
    """Return what tells a bot from all others."""
    return bot["host_key"], bot["name"]


def shown(view: View, bots: list[Bot]) -> list[Bot]:
    """Return the bots that pass the filter, in order."""
    wanted = view.filter.casefold()
    kept = [
        bot
        for bot in bots
        if any(wanted in str(bot[field]).casefold() for field in ("name", "host", "state"))
    ]
    return columns.ordered(kept, view.sort, turned=view.turned)


def place(view: View, bots: list[Bot]) -> int:
    """Return the line of the selected bot; the first when it is gone."""
    return next((at for at, bot in enumerate(bots) if name_of(bot) == view.selected), 0)


def press(view: View, key: str, bots: list[Bot], page: int) -> tuple[View, Deed | None]:
    """Return the next look. ``bots`` are those in sight, in order; ``page`` is how many fit."""
    if view.asking:
        return _answer(view, key)
    if view.typing:
        return _type(view, key), None
    view = replace(view, said="")
    if key in _DEEDS:
        return view, Deed(_DEEDS[key])
    if key in _STEPS:
        return _move(view, bots, _STEPS[key] * (page if key.startswith("page") else 1)), None
    return _set(view, key, bots), None


_DEEDS = {"q": "quit", "Q": "quit", "eof": "quit", "redraw": "redraw"}
_FAR = 1 << 30
_STEPS = {
    "up": -1, "k": -1, "down": 1, "j": 1, "pageup": -1, "pagedown": 1, "home": -_FAR, "end": _FAR,
}  # fmt: skip


def _move(view: View, bots: list[Bot], step: int) -> View:
    if not bots:
        return view
    to = min(max(0, place(view, bots) + step), len(bots) - 1)
    return replace(view, selected=name_of(bots[to]))


def _answer(view: View, key: str) -> tuple[View, Deed | None]:
    bot, view = view.asking, replace(view, asking=None)
    if key in ("y", "Y"):
        return view, Deed("restart", bot)
    return replace(view, said="not restarted"), None


def _type(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, typing=False)
    if key in ("esc", "eof"):
        return replace(view, typing=False, filter="")
    if key == "backspace":
        return replace(view, filter=view.filter[:-1])
    if len(key) > 1:
        return view
    return replace(view, filter=(view.filter + key)[:LONGEST_FILTER])


def _set(view: View, key: str, bots: list[Bot]) -> View:
    if key == "r" and bots:
        return replace(view, asking=bots[place(view, bots)])
    if key in columns.BY_KEY:
        name = columns.BY_KEY[key].name
        return replace(view, sort=name, turned=name == view.sort and not view.turned)
    changes: dict[str, dict[str, Any]] = {
        "/": {"typing": True},
        "esc": {"filter": "", "help": False},
        "p": {"paused": not view.paused},
        "?": {"help": not view.help},
    }
    return replace(view, **changes.get(key, {}))
