"""Rules: a condition on series, in words that people write and read.

::

    bot.*.db.pool.used_ratio > 0.9 for 30s
    host.disk.used_ratio > 0.9 for 1m clear 0.85
    increase(bot.*.crashes_total, 1m) > 0 keep_firing_for 5m
    2 of (bot.*.up < 1) and host.cpu.used_ratio > 90% where host = web*

Each instance of the series that are looked at has a state of its own. ``for`` is how long the
condition must hold; ``clear`` is the value, or the condition, at which a firing alert ends
(hysteresis); ``keep_firing_for`` is how long it goes on when the condition holds no more.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from outrider.alerts import checking, expression, grammar
from outrider.alerts.calendar import Calendar
from outrider.alerts.expression import Absent, Binary, Node, Number, Unary, Windowed
from outrider.alerts.grammar import Matcher, Mistake
from outrider.errors import Mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.alerts.selectors import Key, Selector

Severity = Literal["info", "warning", "critical"]

_ALWAYS = Calendar()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read and checked.

    ``condition`` begins an alert, ``held`` keeps it; they differ where there is a ``clear``.
    ``active`` says at which times of the week something may begin. Of a rule that watches silence,
    instances that are gone must be remembered.
    """

    name: str
    text: str
    severity: Severity
    condition: Node
    held: Node
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    where: tuple[Matcher, ...] = ()
    active: Calendar = _ALWAYS
    advice: str = ""
    watches_silence: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels that tell the rule's instances apart."""
        return checking.labels(self.condition)

    @property
    def subject(self) -> Selector:
        """Return the series that names the instances."""
        found = expression.selectors(self.condition)
        fit = [each for each in found if set(each.labels) == set(self.labels)]
        return (fit or found)[0]

    @property
    def reach_s(self) -> float:
        """Return how far back the rule looks."""
        nodes = (*expression.walk(self.condition), *expression.walk(self.held))
        return max((node.window_s for node in nodes if isinstance(node, Windowed)), default=0.0)

    def applies(self, host: str, key: Key) -> bool:
        """Tell whether ``where`` admits an instance of a host."""
        known = {"host": host} | dict(zip(self.labels, key, strict=True))
        return all(fnmatch.fnmatchcase(known[m.label], m.glob) == m.wanted for m in self.where)

    def matches(self, names: Iterable[str]) -> list[str]:
        """Return the series that this rule looks at, in order."""
        found = expression.selectors(self.condition)
        return [name for name in names if any(each.key(name) is not None for each in found)]


def parse(
    name: str,
    when: str,
    severity: Severity = "warning",
    *,
    active: Calendar = _ALWAYS,
    advice: str = "",
) -> Rule:
    """Return the rule that ``when`` describes.

    Raises:
        BadArgument: names the column of each mistake and what was expected there.
    """
    written = grammar.read(when)
    if isinstance(written, Mistake):
        raise Mistakes([_told(when, written)])
    mistakes = written.mistakes or checking.check(written.condition)
    held = written.condition
    if not mistakes and written.clear is not None:
        held, more = _held(written.condition, written.clear, written.columns["clear"])
        mistakes = [*mistakes, *more]
    if not mistakes:
        mistakes = list(_unknown_labels(written))
    if mistakes:
        raise Mistakes(_told(when, mistake) for mistake in mistakes)
    return Rule(
        name, when, severity, written.condition, held,
        written.durations.get("for", 0.0), written.durations.get("keep_firing_for", 0.0),
        written.where, active, advice,
        any(isinstance(node, Absent) for node in expression.walk(written.condition)),
    )  # fmt: skip


def _held(condition: Node, clear: Node, at: int) -> tuple[Node, list[Mistake]]:
    """Return the condition that keeps an alert firing."""
    if expression.is_condition(clear):
        mistakes = checking.check(clear)
        if not mistakes and set(checking.labels(clear)) - set(checking.labels(condition)):
            mistakes = [Mistake(clear.at, "a condition on the same instances")]
        return Unary("not", clear, at), mistakes
    value = constant(clear)
    ordered = isinstance(condition, Binary) and condition.op in (">", ">=", "<", "<=")
    threshold = constant(condition.right) if isinstance(condition, Binary) and ordered else None
    if value is None or threshold is None:
        return condition, [
            Mistake(clear.at, "a condition, such as `clear x < 0.8`: only one comparison "
                    "(>, >=, < or <=) with a number can end at another number")
        ]  # fmt: skip
    assert isinstance(condition, Binary)
    if value != threshold and (value > threshold) == condition.op.startswith(">"):
        return condition, [
            Mistake(clear.at, f"a value on the other side of {threshold:g}, since the alert would "
                    "end while its condition holds; swap the two", f"{value:g}")
        ]  # fmt: skip
    return replace(condition, right=Number(value, clear.at)), []


def constant(node: Node) -> float | None:
    """Return the number that a node is, or None."""
    if isinstance(node, Unary) and node.op == "-" and isinstance(node.of, Number):
        return -node.of.value
    return node.value if isinstance(node, Number) and math.isfinite(node.value) else None


def _unknown_labels(written: grammar.Written) -> Iterable[Mistake]:
    known = ("host", *checking.labels(written.condition))
    for matcher in written.where:
        if matcher.label not in known:
            yield Mistake(matcher.at, f"one of the labels {', '.join(known)}", matcher.label)


def _told(text: str, mistake: Mistake) -> str:
    found = mistake.found or text[mistake.at :].strip() or "the end"
    return f"{text!r}, column {mistake.at + 1}: expected {mistake.expected}, found {found!r}."
