"""What counts as good: the indicators that every bot has, named in a few words.

::

    alive                        the process is there, its heartbeat fresh, its event loop free
    work  or  work:NAME          blocks timed as NAME (handle_update) that did not raise
    timed:handle_update<0.5s     blocks timed as NAME that took no longer, of all that ended
    fresh:updates_total<10m      a counter grew, or an age in seconds is, no longer ago than this
    restarts                     ticks in which the bot did not crash
    ratio:lost_total/sent_total  any counter of failures, of any counter of all
    ticks                        of a host: ticks that were collected, and in time

``alive``, ``fresh``, ``restarts`` and ``ticks`` look at each tick, the others at each event.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outrider import sketch, units
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.slo.look import Look

Kind = Literal["alive", "work", "timed", "fresh", "restarts", "ratio", "ticks"]

HEARTBEAT_FRESH_S = 30.0
LOOP_FREE_S = 1.0
# Ticks missing for longer were not late: Outrider was off. A silent host is an alert of its own.
OFF_AFTER_S = 300.0
_NAME = r"[A-Za-z0-9][\w.:/-]*"
_FORMS: dict[Kind, re.Pattern[str]] = {
    "alive": re.compile("alive"),
    "work": re.compile(rf"work(?::(?P<name>{_NAME}))?"),
    "timed": re.compile(rf"timed:(?P<name>{_NAME}?)\s*<=?\s*(?P<limit>[\w.]+)"),
    "fresh": re.compile(rf"fresh:(?P<name>{_NAME}?)\s*<=?\s*(?P<limit>[\w.]+)"),
    "restarts": re.compile("restarts"),
    "ratio": re.compile(r"ratio:(?P<name>[\w.:-]+)\s*/\s*(?P<of>[\w.:-]+)"),
    "ticks": re.compile("ticks"),
}
_PER_EVENT = frozenset({"work", "timed", "ratio"})
_EXAMPLES = "alive, work:handle_update, timed:handle_update<0.5s, fresh:updates_total<10m, ..."


@dataclass(frozen=True, slots=True)
class Indicator:
    """A parsed indicator; ``name`` and ``of`` are series of a bot, without its ``bot.NAME.``."""

    kind: Kind
    text: str
    name: str = ""
    of: str = ""
    limit_s: float = 0.0

    @property
    def is_per_event(self) -> bool:
        """Whether it counts events, of which a tick may have none or many."""
        return self.kind in _PER_EVENT

    def seen(self, bot: str, look: Look) -> tuple[int, int]:
        """Return ``(good, total)`` of one bot (or host) since the row before; (0, 0): nothing."""
        return _SEEN[self.kind](self, f"bot.{bot}.", look)


def parse(text: str) -> Indicator:
    """Return the indicator that a text names.

    >>> parse("timed:handle_update<500ms").limit_s, parse("work").name
    (0.5, 'handle_update')

    Raises:
        BadArgument: it is none; the message lists what there is.
    """
    for kind, form in _FORMS.items():
        if found := form.fullmatch(text.strip()):
            parts = found.groupdict()
            name = parts.get("name") or ("handle_update" if kind == "work" else "")
            limit_s = _limit(text, parts["limit"]) if "limit" in parts else 0.0
            return Indicator(kind, text.strip(), name, parts.get("of") or "", limit_s)
    raise BadArgument(f"indicator = {text!r}: no such indicator; expected one of {_EXAMPLES}")


def _limit(text: str, written: str) -> float:
    try:
        limit_s = units.parse_duration(written)
    except ValueError as error:
        raise BadArgument(f"indicator = {text!r}: {error}") from None
    if limit_s <= 0:
        raise BadArgument(f"indicator = {text!r}: nothing is that fast; write it like 0.5s.")
    return limit_s


def _alive(_: Indicator, prefix: str, look: Look) -> tuple[int, int]:
    up = look.values.get(f"{prefix}up", math.nan)
    if math.isnan(up):
        return 0, 0
    heard_s = look.values.get(f"{prefix}heartbeat_age_s", 0.0)
    lag_s = look.values.get(f"{prefix}loop_lag_s", 0.0)
    return int(up >= 1 and not heard_s > HEARTBEAT_FRESH_S and not lag_s > LOOP_FREE_S), 1


def _work(own: Indicator, prefix: str, look: Look) -> tuple[int, int]:
    total = look.increase(f"{prefix}{own.name}.count")
    return _without(look.increase(f"{prefix}{own.name}.errors_total"), total)


def _timed(own: Indicator, prefix: str, look: Look) -> tuple[int, int]:
    took, most = look.sketch(prefix + own.name), sketch.index(own.limit_s)
    return sum(many for place, many in took.items() if place <= most), sketch.count(took)


def _fresh(own: Indicator, prefix: str, look: Look) -> tuple[int, int]:
    age_s = look.age_s(prefix + own.name)
    return (0, 0) if age_s is None else (int(age_s <= own.limit_s), 1)


def _restarts(_: Indicator, prefix: str, look: Look) -> tuple[int, int]:
    series = f"{prefix}crashes_total"
    return (int(not look.increase(series)), 1) if series in look.values else (0, 0)


def _ratio(own: Indicator, prefix: str, look: Look) -> tuple[int, int]:
    total = look.increase(prefix + own.of)
    return _without(look.increase(prefix + own.name), total)


def _ticks(_: Indicator, __: str, look: Look) -> tuple[int, int]:
    late = look.values.get("collector.duration_s", 0.0) > look.interval_s
    was_off = (look.ticks - 1) * look.interval_s > OFF_AFTER_S
    return int(not late), 1 if was_off else look.ticks


def _without(bad: int, total: int) -> tuple[int, int]:
    """Return good and total; a failure that came a tick before its event counts as one."""
    return max(0, total - bad), max(total, bad)


_SEEN: dict[Kind, Callable[[Indicator, str, Look], tuple[int, int]]] = {
    "alive": _alive, "work": _work, "timed": _timed, "fresh": _fresh, "restarts": _restarts,
    "ratio": _ratio, "ticks": _ticks,
}  # fmt: skip
