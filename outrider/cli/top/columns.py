"""The columns of ``outrider top``'s table of bots: what each shows, and how it sorts.

An order has the worst or the most first, names from A; the same key again turns it round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider import units
from outrider.cli.terminal import safe
from outrider.web.verdict import HEARTBEAT_LATE_S, SEVERITY

if TYPE_CHECKING:
    from collections.abc import Callable

Bot = dict[str, Any]

# By health, before the name. A column says the state in a word: no colour stands alone.
ICONS = {"ok": "●", "warning": "▲", "critical": "✖", "unknown": "?", "off": "○"}
PLAIN_ICONS = {"ok": "+", "warning": "!", "critical": "x", "unknown": "?", "off": "-"}


@dataclass(frozen=True, slots=True)
class Column:
    """``key`` is the letter that sorts by it; the lowest ``rank`` stays longest when it is narrow.

    ``order`` returns what to sort by, smallest first, and None for what has no value.
    """

    name: str
    title: str
    key: str
    width: int
    rank: int
    cell: Callable[[Bot], str]
    order: Callable[[Bot], Any]
    is_left: bool = False


def _state(bot: Bot) -> str:
    return safe(bot["state"])


def why(bot: Bot) -> str:
    """Return why a bot is as it is; nothing of one that is well."""
    late_s = bot["heartbeat_age_s"]
    if bot["health"] == "warning" and late_s is not None and late_s > HEARTBEAT_LATE_S:
        return f"silent for {units.show_duration(late_s)}"
    return safe(bot["reason"] or "")


def _most(name: str) -> Callable[[Bot], float | None]:
    return lambda bot: None if bot[name] is None else -bot[name]


def _shown(name: str, form: Callable[[float], str]) -> Callable[[Bot], str]:
    return lambda bot: "" if bot[name] is None else form(bot[name])


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004 - two digits are enough


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _ratio(value: float) -> str:
    return f"{value:.1%}"


COLUMNS = (
    Column("state", "state", "s", 9, 0, _state,
           lambda bot: (-SEVERITY.get(bot["health"], 1), bot["state"]), is_left=True),
    Column("host", "host", "h", 12, 8, lambda bot: safe(bot["host"]), lambda bot: bot["host"],
           is_left=True),
    Column("uptime", "up for", "u", 8, 4, _shown("uptime_s", units.show_duration),
           lambda bot: bot["uptime_s"]),
    Column("restarts", "restarts", "t", 8, 3, _shown("restarts", _whole), _most("restarts")),
    Column("cpu", "cpu", "c", 7, 1, _shown("cpu_ratio", _ratio), _most("cpu_ratio")),
    Column("memory", "memory", "m", 10, 2, _shown("rss_bytes", units.show_bytes),
           _most("rss_bytes")),
    Column("lag", "lag", "l", 8, 6, _shown("loop_lag_s", units.show_duration),
           _most("loop_lag_s")),
    Column("work", "work/min", "w", 8, 5, _shown("updates_per_min", _rate),
           _most("updates_per_min")),
    Column("errors", "err/min", "e", 7, 7, _shown("errors_per_min", _rate),
           _most("errors_per_min")),
)  # fmt: skip
NAME = Column("name", "bot", "n", 8, -1, lambda bot: safe(bot["name"]), lambda bot: bot["name"],
              is_left=True)  # fmt: skip
BY_NAME = {column.name: column for column in (NAME, *COLUMNS)}
BY_KEY = {column.key: column for column in BY_NAME.values()}
_WIDEST_NAME = 32
_LEAST_WHY = 12
_ROOM_FOR_WHY = 70
LEAD = 3  # the mark of the selected line, the icon, a space


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that fit, and how wide the two that give way are."""

    columns: tuple[Column, ...]
    name_width: int
    why_width: int


def layout(bots: list[Bot], width: int, *, hosts: int) -> Layout:
    """Return what fits into a width. One space stands before each column."""
    longest = max((len(NAME.cell(bot)) for bot in bots), default=0)
    name = max(NAME.width, min(longest, _WIDEST_NAME, width // 3))
    left = width - LEAD - name
    # Why a bot is down says more than how many errors it counted.
    reserved = _LEAST_WHY + 1 if width >= _ROOM_FOR_WHY and any(map(why, bots)) else 0
    chosen: set[str] = set()
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        if column.name == "host" and hosts < 2:  # noqa: PLR2004 - one host needs no column
            continue
        if left - reserved - column.width - 1 < 0:
            break
        chosen.add(column.name)
        left -= column.width + 1
    fits = tuple(column for column in COLUMNS if column.name in chosen)
    return Layout(fits, max(1, min(name, width - LEAD)), left - 1 if left - 1 >= _LEAST_WHY else 0)


def ordered(bots: list[Bot], by: str, *, turned: bool) -> list[Bot]:
    """Return bots in the order of a column; those without a value last, whichever way."""
    order = BY_NAME[by].order
    named = sorted(bots, key=lambda bot: (bot["name"], bot["host"]))
    known = [bot for bot in named if order(bot) is not None]
    unknown = [bot for bot in named if order(bot) is None]
    known.sort(key=order, reverse=turned)
    return known + unknown
