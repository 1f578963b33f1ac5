"""What ``outrider top`` draws: a snapshot and a view as lines of text, none wider than the screen.

From top to bottom as on the dashboard: verdict, hosts, what they share, alerts, bots. Where the
screen is low, what stands between gives way line by line; the verdict and some bots stay. Every
name and text from outside goes through ``terminal.safe``.
"""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from outrider import units
from outrider.cli.terminal import safe
from outrider.cli.top import columns, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.cli.top.view import View

Frame = dict[str, Any]

STYLES = {"ok": "green", "warning": "yellow", "critical": "bold red", "unknown": "cyan",
          "info": "cyan", "off": "dim"}  # fmt: skip
_LEAST_BOTS = 3
_MOST_HOSTS, _MOST_ALERTS = 8, 8
_BAR = 10
_FULL = 0.9  # from here a bar is drawn as a warning
_HELP = (
    "q quit   ↑ ↓ PgUp PgDn Home End move   / filter, Esc clears it   p pause   r restart the bot",
    "order by: "
    + "   ".join(f"{each.key} {each.title}" for each in columns.BY_NAME.values())
    + "   (again: turned round)",
)


@dataclass(frozen=True, slots=True)
class Screen:
    """How much room there is; ``height`` None: as much as it takes, without footer or marks."""

    width: int
    height: int | None = None
    is_plain: bool = False

    @property
    def icons(self) -> dict[str, str]:
        """Icons that the terminal can show."""
        return columns.PLAIN_ICONS if self.is_plain else columns.ICONS


def page(found: Frame, looks: View, screen: Screen) -> int:
    """Return how many bots fit on the screen."""
    return _arranged(found, looks, screen)[1]


def draw(found: Frame, looks: View, screen: Screen) -> list[Text]:
    """Return the lines of one frame: at most as many as the screen is high."""
    above, rows = _arranged(found, looks, screen)
    lines = above + _table(found, looks, screen, rows)
    if screen.height is not None:
        lines = lines[: screen.height - 1]
        lines += [Text("")] * (screen.height - 1 - len(lines))
        lines.append(_footer(found, looks))
    for line in lines:
        line.truncate(screen.width, overflow="ellipsis")
    return lines


def _arranged(found: Frame, looks: View, screen: Screen) -> tuple[list[Text], int]:
    """Return what stands above the table, and how many bots there is room for below it."""
    bots = view.shown(looks, found["bots"])
    first = _head(found, looks, screen)
    parts = [_hosts(found, screen), _shared(found), _alerts(found, screen)]
    if looks.help and screen.height is not None:
        parts = [[Text(line, "bold") for line in _HELP]]
    if screen.height is None:
        return first + [line for part in parts for line in part], len(bots)
    # The table has a heading, the screen a footer.
    spare = screen.height - 2 - len(first) - min(len(bots), _LEAST_BOTS)
    kept: list[list[Text]] = []
    for wanted in (2, 0, 1):  # alerts before hosts before what they share
        part = parts[wanted] if wanted < len(parts) else []
        kept.append(part[: max(0, spare)])
        spare -= len(kept[-1])
    middle = [line for place in (1, 2, 0) for line in kept[place]]  # as they are ordered in parts
    return first + middle, max(1, screen.height - 2 - len(first) - len(middle))


def _head(found: Frame, looks: View, screen: Screen) -> list[Text]:
    age_s = found["data_age_s"]
    age = "no data yet" if age_s is None else f"newest data {units.show_duration(age_s)} old"
    at = time.strftime("%H:%M:%S", time.localtime(found["now_s"]))
    lines = [Text(f"outrider top  {at}  {age}", "dim")]
    if looks.paused:
        lines[0].append("  PAUSED", "bold")
    judged = found["verdict"]
    icon = screen.icons.get(judged["state"], "?")
    style = STYLES.get(judged["state"], "")
    word = f"{icon} {judged['state'].upper()}  "
    first, *more = _wrapped(word + safe(judged["text"]), screen)
    lines.append(Text(first, "bold"))
    lines[-1].stylize(style, 0, len(word))
    lines += [Text(f"  {line}", "bold") for line in more]
    if judged["why"]:
        lines.append(Text(f"  why: {safe(judged['why'])}"))
    if judged["advice"]:
        lines.append(Text(f"  do:  {safe(judged['advice'])}"))
    if problem := found.get("problem"):
        since_s = max(0.0, found["now_s"] - problem["since_s"])
        lines.append(
            Text(f" ! {safe(problem['text'])} For {units.show_duration(since_s)}. ", "reverse")
        )
    lines += [Text(f"! {safe(notice)}", "yellow") for notice in found.get("notices", ())]
    return lines


def _wrapped(text: str, screen: Screen) -> list[str]:
    """Return the sentence on two lines at most where the screen is low, else on as many as needed.

    Cut with an ellipsis: whoever has so narrow a screen finds the rest in ``outrider status``.
    """
    width, most = max(10, screen.width - 2), 2 if screen.height is not None else 1000
    return textwrap.wrap(text, width, max_lines=most, placeholder="…") or [""]


def _hosts(found: Frame, screen: Screen) -> list[Text]:
    name = max((len(safe(host["name"])) for host in found["hosts"]), default=0)
    lines = [_host(host, min(name, 20), screen) for host in found["hosts"][:_MOST_HOSTS]]
    if (more := len(found["hosts"]) - _MOST_HOSTS) > 0:
        lines.append(Text(f"and {more} more hosts: outrider status", "dim"))
    return lines


def _host(host: dict[str, Any], name_width: int, screen: Screen) -> Text:
    line = Text("")
    state = host["state"] if host["fresh"] else "unknown"
    icon = " " if host["fresh"] and state == "unknown" else screen.icons.get(state, "?")
    line.append(f"{icon} ", STYLES.get(state, ""))  # nothing while no analysis has judged it yet
    line.append(f"{set_cell_size(safe(host['name']), name_width)}  ", "bold")
    if not host["fresh"]:
        since_s = host["since_s"]
        line.append("silent" if since_s is None else f"silent since {_clock(since_s)}", "bold")
        return line
    for title, field in (("cpu", "cpu_used_ratio"), ("mem", "memory_used_ratio"),
                         ("swap", "swap_used_ratio"), ("disk", "disk_used_ratio")):  # fmt: skip
        if (value := host[field]) is not None:
            line.append(f"{title} ")
            line.append(_bar(value, screen), "yellow" if value >= _FULL else "green")
            line.append(f" {value:>4.0%}  ")
    if host["load_1m"] is not None:
        line.append(f"load {host['load_1m']:.2f}  ")
    for title, field in (("in", "net_received_bytes_per_s"), ("out", "net_sent_bytes_per_s"),
                         ("read", "disk_read_bytes_per_s"),
                         ("write", "disk_written_bytes_per_s")):  # fmt: skip
        if (value := host[field]) is not None:
            line.append(f"{title} {units.show_bytes(value)}/s  ")
    return line


def _bar(ratio: float, screen: Screen) -> str:
    if screen.width < 80:  # noqa: PLR2004 - the numbers say it too
        return ""
    full = round(min(1.0, max(0.0, ratio)) * _BAR)
    done, rest = ("#", ".") if screen.is_plain else ("█", "░")
    return done * full + rest * (_BAR - full)


def _shared(found: Frame) -> list[Text]:
    resources, lines = found["resources"], []
    old = "" if resources["fresh"] or resources["at_s"] is None else " (old)"
    if held := resources["redis"]:
        parts = [
            _fact(held["memory_bytes"], units.show_bytes),
            _fact(held["clients"], "{:.0f} clients".format),
            _fact(held["ops_per_s"], "{:.0f} ops/s".format),
            _fact(held["latency_s"], lambda value: f"answers in {1000 * value:.1f} ms"),
        ]
        lines.append(Text(f"redis{old}   " + "  ".join(filter(None, parts))))
    queues = sorted(resources["queues"], key=lambda queue: -(queue["length"] or 0))
    if queues:
        said = "  ".join(f"{safe(each['name'])} {each['length'] or 0:.0f}" for each in queues)
        lines.append(Text(f"queues{old}  {said}"))
    return lines


def _fact(value: float | None, form: Callable[[float], str]) -> str:
    return "" if value is None else form(value)


def _alerts(found: Frame, screen: Screen) -> list[Text]:
    lines = []
    for alert in found["alerts"][:_MOST_ALERTS]:
        icon = screen.icons.get(alert["severity"], "!")
        since = "" if alert["since_s"] is None else f" since {_clock(alert['since_s'])}"
        line = Text(f"{icon} {safe(alert['severity'])} ", STYLES.get(alert["severity"], ""))
        on = f" on {safe(alert['on'])}" if alert["on"] else ""
        line.append(f"{safe(alert['state'])}{since}: {safe(alert['rule'])}{on}")
        if alert["summary"]:
            line.append(f": {safe(alert['summary'])}")
        lines.append(line)
    if (more := len(found["alerts"]) - _MOST_ALERTS) > 0:
        lines.append(Text(f"and {more} more: outrider alerts list", "dim"))
    return lines


def _table(found: Frame, looks: View, screen: Screen, rows: int) -> list[Text]:
    bots = view.shown(looks, found["bots"])
    fits = columns.layout(bots, screen.width, hosts=len(found["hosts"]))
    lines = [_heading(fits, looks, screen)]
    if not bots:
        lines.append(Text(_nothing(found, looks), "dim"))
        return lines
    at = view.place(looks, bots)
    first = max(0, min(at - rows // 2, len(bots) - rows))
    for place, bot in enumerate(bots[first : first + rows], start=first):
        marked = screen.height is not None and place == at
        lines.append(_row(bot, fits, screen, is_marked=marked))
    return lines


def _nothing(found: Frame, looks: View) -> str:
    if found["bots"]:
        return f"no bot matches {safe(looks.filter)!r}; Esc shows all"
    return "no bots yet: declare them in outrider.toml, then outrider up"


def _heading(fits: columns.Layout, looks: View, screen: Screen) -> Text:
    line = Text(" " * columns.LEAD, "bold")
    widths = [fits.name_width, *(column.width for column in fits.columns)]
    for column, width in zip((columns.NAME, *fits.columns), widths, strict=True):
        title = column.title
        if column.name == looks.sort:
            up, down = ("^", "v") if screen.is_plain else ("▲", "▼")
            title += up if looks.turned else down
        line.append(_fitted(title, width, is_left=column.is_left))
        line.append(" ")
    if fits.why_width:
        line.append("why")
    return line


def _row(bot: dict[str, Any], fits: columns.Layout, screen: Screen, *, is_marked: bool) -> Text:
    style = STYLES.get(bot["health"], "")
    line = Text(">" if is_marked else " ", "bold reverse" if is_marked else "")
    line.append(f"{screen.icons.get(bot['health'], '?')} ", style)
    line.append(_fitted(columns.NAME.cell(bot), fits.name_width, is_left=True) + " ", "bold")
    for column in fits.columns:
        cell = _fitted(column.cell(bot), column.width, is_left=column.is_left)
        line.append(f"{cell} ", style if column.name == "state" else "")
    if fits.why_width:
        line.append(columns.why(bot))
    if bot["stale"]:
        line.stylize("dim")
    return line


def _fitted(text: str, width: int, *, is_left: bool) -> str:
    """Return a text as wide as its column; what is cut ends in an ellipsis."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    padding = " " * (width - cell_len(text))
    return text + padding if is_left else padding + text


def _footer(found: Frame, looks: View) -> Text:
    if looks.asking:
        return Text(f" {_question(looks.asking, found)}  y: yes   other keys: no ", "bold reverse")
    if looks.typing:
        return Text(f" filter: {safe(looks.filter)}_   Enter: keep   Esc: clear", "reverse")
    if looks.said:
        return Text(f" {safe(looks.said)}", "reverse")
    bots = len(view.shown(looks, found["bots"]))
    many = f"{bots} of {len(found['bots'])} bots"
    if looks.filter:
        many += f" match {safe(looks.filter)!r}"
    keys = "q quit  / filter  p pause  r restart  ? help"
    return Text(f" {keys}   {many}, by {columns.BY_NAME[looks.sort].title}", "dim")


def _question(bot: dict[str, Any], found: Frame) -> str:
    """Ask for what will be done: a first instance has its bot's name, which means all of them."""
    meant = [
        each
        for each in found["bots"]
        if each["host_key"] == bot["host_key"] and bot["name"] in (each["name"], each["bot"])
    ]
    many = f", all {len(meant)} instances of it" if len(meant) > 1 else ""
    return f"Restart {safe(bot['name'])} on {safe(bot['host'])}{many}?"


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(at_s))
