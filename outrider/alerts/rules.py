"""Rules: a condition on series, in words that people write and read.

::

    bot.*.db.pool.used_ratio > 0.9 for 30s
    host.disk.used_ratio > 0.9 for 1m clear 0.85
    increase(bot.*.crashes_total, 1m) > 0

``*`` in a series stands for anything, in the place of a bot's name for one bot: what a bot itself
counts as ``jobs.failed`` is not matched by ``bot.*.failed``. Each series that matches is an
instance with its own state.
``for`` is how long the condition must hold; ``clear`` is the value at which a firing alert ends
(hysteresis), the threshold itself when it is not given.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outrider import units
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Severity = Literal["info", "warning", "critical"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_SERIES = r"[A-Za-z][\w.*<>:/-]*?"
_METRIC = re.compile(
    rf"\s*(?:(?P<function>\w+)\(\s*(?P<of>{_SERIES})\s*,\s*(?P<window>[\w.]+)\s*\)|(?P<series>[A-Za-z][\w.*:/-]*))"
)
_COMPARE = re.compile(r"\s*(?P<op>[<>]=?|==|!=)")
_NUMBER = re.compile(r"\s*(?P<number>-?\d+(?:\.\d+)?)(?P<unit>%|[kKMGT]i?B|ms|s|m|h|d)?(?=\s|$)")
_FOR = re.compile(r"\s+for\s+(?P<for>[\w.]+)")
_CLEAR = re.compile(r"\s+clear(?=\s)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed rule. ``window_s`` is 0 for the value itself, else that of ``increase``."""

    name: str
    series: str
    window_s: float
    op: str
    threshold: float
    clear: float
    for_s: float
    severity: Severity
    text: str

    def matches(self, names: Iterable[str]) -> list[str]:
        """Return the series that this rule watches, in order."""
        if "*" not in self.series:
            return [name for name in names if name == self.series]
        pattern = _pattern(self.series)
        return [name for name in names if pattern.fullmatch(name)]

    def holds(self, value: float, *, firing: bool) -> bool:
        """Tell whether the condition holds; a firing alert is held to its clear value."""
        return _OPERATORS[self.op](value, self.clear if firing else self.threshold)


def parse(name: str, when: str, severity: Severity = "warning") -> Rule:
    """Return the rule that ``when`` describes.

    Raises:
        BadArgument: names the column of the mistake and what was expected there.
    """
    metric = _METRIC.match(when)
    if not metric or metric["function"] not in (None, "increase"):
        raise _mistake(when, 0, "a series such as host.cpu.used_ratio, or increase(series, 5m)")
    compare = _COMPARE.match(when, metric.end())
    if not compare:
        raise _mistake(when, metric.end(), "a comparison: >, >=, <, <=, == or !=")
    threshold, at = _number(when, compare.end())
    for_s = 0.0
    if held := _FOR.match(when, at):
        at, for_s = held.end(), _duration(when, held.start("for"), held["for"])
    clear = threshold
    if compare["op"][0] in "<>" and (hysteresis := _CLEAR.match(when, at)):
        clear, at = _number(when, hysteresis.end())
    if when[at:].strip():
        raise _mistake(when, at, "`for DURATION`, `clear NUMBER` or the end")
    if clear != threshold and (clear > threshold) == compare["op"].startswith(">"):
        raise BadArgument(
            f"{when!r}: clear {clear:g} lies beyond the threshold {threshold:g}: "
            "the alert would end while its condition holds; swap the two."
        )
    window_s = 0.0
    if metric["window"]:
        window_s = _duration(when, metric.start("window"), metric["window"])
        if not window_s:
            raise _mistake(when, metric.start("window"), "a window longer than nothing, such as 5m")
    return Rule(
        name, metric["of"] or metric["series"], window_s, compare["op"],
        threshold, clear, for_s, severity, when,
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _pattern(series: str) -> re.Pattern[str]:
    area, _, rest = series.partition(".")
    name, more, what = rest.partition(".")
    if area != "bot" or not more:
        return _any(series, ".*")
    return re.compile(area + r"\." + _any(name, "[^.]*").pattern + r"\." + _any(what, ".*").pattern)


def _any(series: str, star: str) -> re.Pattern[str]:
    return re.compile(star.join(re.escape(part) for part in series.split("*")), re.DOTALL)


def _number(text: str, at: int) -> tuple[float, int]:
    found = _NUMBER.match(text, at)
    if not found:
        raise _mistake(text, at, "a number such as 0.9, 90%, 300MiB or 30s")
    value, unit = float(found["number"]), found["unit"]
    if unit == "%":
        value /= 100
    elif unit and unit in ("ms", "s", "m", "h", "d"):
        value *= units.parse_duration(f"1{unit}")
    elif unit:
        value *= units.parse_bytes(f"1{unit}")
    if not math.isfinite(value):
        raise _mistake(text, at, "a number that is not quite as large")
    return value, found.end()


def _duration(text: str, at: int, written: str) -> float:
    try:
        return units.parse_duration(written)
    except ValueError:
        raise _mistake(text, at, "a duration such as 30s or 5m") from None


def _mistake(text: str, at: int, expected: str) -> BadArgument:
    found = text[at:].strip() or "the end"
    return BadArgument(f"{text!r}, column {at + 1}: expected {expected}, found {found!r}.")
