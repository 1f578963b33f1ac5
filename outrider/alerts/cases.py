"""Unit tests of rules, in a file, so that a rule is known to be right before the night it is for.

::

    interval = "10s"

    [[rule]]                                  # besides those in force
    name = "queue grows"
    when = "delta(bot.*.queue, 1m) > 100 for 20s"

    [[test]]
    name = "a burst is no alarm"
    series = { "bot.canary.queue" = "0x6 500 0x6" }
    expect = [{ at = "70s", rule = "queue grows", firing = [] }]
    told = 0

Values are written as for promtool: ``1 2 _`` (``_`` is a tick without it), ``5x3`` (5, and three
more), ``0+10x5`` (0 to 50 in steps of 10), ``_x4``.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from outrider import units
from outrider.alerts import frame, rules
from outrider.alerts.engine import Engine
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from outrider.alerts.rules import Rule
    from outrider.alerts.state import Alert, Transition

MOST_TICKS = 1_000_000
_ITEM = re.compile(
    r"(?P<first>_|-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|-?Inf)"
    r"(?P<step>[+-][0-9.]+)?(?:x(?P<times>[0-9]+))?"
)


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    """Which instances of a rule are in a state at a time, and no others; unnamed: any."""

    at: str
    rule: str
    firing: list[str] | None = None
    pending: list[str] | None = None
    recovering: list[str] | None = None
    resolved: list[str] | None = None
    no_data: list[str] | None = None


class RuleText(msgspec.Struct, forbid_unknown_fields=True):
    """A rule of the file's own."""

    name: str
    when: str
    severity: rules.Severity = "warning"


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """One test: series go in, states come out. ``told`` is how often people are told in all."""

    name: str
    series: dict[str, str]
    expect: list[Expected] = []
    told: int | None = None
    interval: str | None = None
    host: str = "test"


class Cases(msgspec.Struct, forbid_unknown_fields=True):
    """A file of tests."""

    test: list[Case]
    rule: list[RuleText] = []
    interval: str = "10s"


class Outcome(msgspec.Struct, frozen=True):
    """How a test ended; no failures, and it passed."""

    name: str
    failures: list[str]


def load(path: Path) -> Cases:
    """Return the tests in a TOML or YAML file.

    Raises:
        BadArgument: it can't be read, and where.
    """
    try:
        text = path.read_text("utf-8")
        raw = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text, path)
        return msgspec.convert(raw, Cases)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadArgument(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        raise BadArgument(
            f"{path}: {error}; see docs/how-to/rules.md for what a test is made of."
        ) from None


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise BadArgument(f"{path}: install pyyaml, or write the tests as TOML.") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadArgument(f"{path}: {error}") from None


def run(cases: Cases, in_force: Iterable[Rule]) -> list[Outcome]:
    """Run every test against the rules in force and the file's own, which go before.

    Raises:
        BadArgument: a rule or a series of values can't be read.
    """
    known = {rule.name: rule for rule in in_force}
    known |= {each.name: rules.parse(each.name, each.when, each.severity) for each in cases.rule}
    return [Outcome(case.name, _failures(case, cases.interval, known)) for case in cases.test]


def _failures(case: Case, interval: str, known: Mapping[str, Rule]) -> list[str]:
    interval_s = _duration(case.interval or interval)
    table = {name: values_of(text) for name, text in case.series.items()}
    named = list(dict.fromkeys(expected.rule for expected in case.expect))
    unknown = [name for name in named if name not in known]
    if unknown:
        return [f"no rule is called {name!r}" for name in unknown]
    judged = [known[name] for name in named] if named else list(known.values())
    marks = sorted({_duration(expected.at) for expected in case.expect})
    ticks = max([len(values) for values in table.values()], default=0)
    ticks = max(ticks, *(int(mark / interval_s) + 1 for mark in marks), 0)
    if ticks > MOST_TICKS:
        raise BadArgument(f"{case.name}: {ticks} ticks are more than {MOST_TICKS}.")
    seen, changes = _played(judged, table, ticks, interval_s, case.host)
    failures: list[str] = []
    for expected in case.expect:
        alerts = seen[min(ticks - 1, int(_duration(expected.at) / interval_s))]
        failures += _differences(expected, alerts)
    told = [change for change in changes if change.is_news]
    if case.told is not None and case.told != len(told):
        words = "; ".join(f"{each.to} {each.summary}" for each in told) or "nothing"
        failures.append(f"people are told {len(told)} times, expected {case.told}: {words}")
    return failures


def _played(
    judged: Sequence[Rule],
    table: Mapping[str, list[float]],
    ticks: int,
    interval_s: float,
    host: str,
) -> tuple[list[dict[str, Alert]], list[Transition]]:
    """Return the alerts after every tick, and all changes."""
    columns = [values + [np.nan] * (ticks - len(values)) for values in table.values()]
    values = np.array(columns, dtype=float).reshape(len(table), ticks).T
    # A time far from 0, which stands for never.
    times = [1_000_000_000.0 + interval_s * tick for tick in range(ticks)]
    window = frame.rows_window(tuple(table), times, values)
    engine = Engine(judged)
    alerts: dict[str, Alert] = {}
    seen: list[dict[str, Alert]] = []
    changes: list[Transition] = []
    for tick in range(ticks):
        row = frame.Frame(window, tick, interval_s)
        alerts, more = engine.evaluate(alerts, row, host=host, tick=tick)
        changes += more
        seen.append(alerts)
    return seen, changes


def _differences(expected: Expected, alerts: Mapping[str, Alert]) -> Iterable[str]:
    for state in ("firing", "pending", "recovering", "resolved", "no_data"):
        wanted = getattr(expected, state)
        if wanted is None:
            continue
        found = sorted(
            alert.instance
            for alert in alerts.values()
            if alert.rule == expected.rule and alert.state == state
        )
        if found != sorted(wanted):
            yield (
                f"at {expected.at} of {expected.rule!r} {state}: expected "
                f"{', '.join(sorted(wanted)) or 'none'}, found {', '.join(found) or 'none'}"
            )


def values_of(text: str) -> list[float]:
    """Return the values that a text stands for, NaN where there is none.

    >>> values_of("1 5x2 0+10x3 _")
    [1.0, 5.0, 5.0, 5.0, 0.0, 10.0, 20.0, 30.0, nan]

    Raises:
        BadArgument: it can't be read.
    """
    found: list[float] = []
    for word in text.split():
        item = _ITEM.fullmatch(word)
        try:
            assert item
            first = float("nan" if item["first"] == "_" else item["first"])
            step = float(item["step"] or 0)
        except (AssertionError, ValueError):
            raise BadArgument(
                f"{word!r} in {text!r} is no value; write them like '1 2 _ 5x3 0+10x5'."
            ) from None
        times = int(item["times"] or 0)
        if times > MOST_TICKS:
            raise BadArgument(f"{word!r} is more than {MOST_TICKS} values.")
        # As promtool has it: a value and so many more, but so many that are missing.
        more = times if item["times"] and item["first"] == "_" else times + 1
        found += [first + step * number for number in range(more)]
    return found


def _duration(text: str) -> float:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise BadArgument(str(error)) from None
