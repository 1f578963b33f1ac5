"""The states of an alert, as a pure function: nothing here reads a clock or writes a key.

::

    inactive ──holds──► pending ──held for `for`──► firing ──clear, or no data──► inactive
                           └─────does not hold─────► inactive

The same rows in the same order always give the same transitions, so history can be replayed. A
transition's id names rule, instance, tick and target: delivered twice, it is stored once.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from outrider.alerts.rules import Rule, Severity  # noqa: TC001 - msgspec reads Alert's hints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


State = Literal["inactive", "pending", "firing"]
# A bot that was scaled away takes its series along; its alert must not fire for ever.
NO_DATA_AFTER_S = 300.0


@dataclass(frozen=True, slots=True)
class Alert:
    """What is known of one rule on one instance. Times are seconds since 1970."""

    rule: str
    instance: str
    host: str
    severity: Severity
    state: State = "inactive"
    since_s: float = 0.0
    value: float = 0.0
    seen_s: float = 0.0
    reminded_s: float = 0.0
    summary: str = ""

    @property
    def key(self) -> str:
        """Name it among the alerts of its host."""
        return f"{self.rule}|{self.instance}"


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, as it is stored."""

    id: str
    rule: str
    instance: str
    host: str
    severity: Severity
    before: State
    to: State
    at_s: float
    tick: int
    value: float
    summary: str

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-able data; ``before`` is called ``from`` there."""
        data = asdict(self)
        data["from"] = data.pop("before")
        return data


def step(rule: Rule, alert: Alert, value: float | None, at_s: float) -> Alert:
    """Return what an alert becomes when its instance has ``value`` (None: no data) at ``at_s``."""
    if value is None:
        gone = alert.state != "inactive" and at_s - alert.seen_s >= NO_DATA_AFTER_S
        return _enter(alert, "inactive", at_s) if gone else alert
    # What is kept must be a number in JSON too, which has no infinities.
    shown = max(-sys.float_info.max, min(sys.float_info.max, value))
    alert = replace(alert, value=shown, seen_s=at_s)
    if not rule.holds(value, firing=alert.state == "firing"):
        return alert if alert.state == "inactive" else _enter(alert, "inactive", at_s)
    if alert.state == "inactive":
        alert = _enter(alert, "pending", at_s)
    if alert.state == "pending" and at_s - alert.since_s >= rule.for_s:
        alert = _enter(alert, "firing", at_s)
    return alert


def evaluate(
    rules: Sequence[Rule],
    alerts: Mapping[str, Alert],
    values: Mapping[str, float],
    *,
    host: str,
    tick: int,
    at_s: float,
    increase: Callable[[str, float], float | None],
) -> tuple[dict[str, Alert], list[Transition]]:
    """Return the alerts that are not inactive after this row, and what changed. NaN is no data.

    ``increase(series, window_s)`` returns how much a counter grew in the window before the row, or
    None when there is nothing to compare with.
    """
    after: dict[str, Alert] = {}
    changes: list[Transition] = []
    for rule in rules:
        fresh = {
            name: increase(name, rule.window_s) if rule.window_s else values[name]
            for name in rule.matches(values)
        }
        known = [alert.instance for alert in alerts.values() if alert.rule == rule.name]
        for instance in dict.fromkeys((*fresh, *known)):
            blank = Alert(rule.name, instance, host, rule.severity)
            before = alerts.get(blank.key, blank)
            value = fresh.get(instance)
            now = step(rule, before, None if value is None or math.isnan(value) else value, at_s)
            if now.state != before.state:
                now = replace(now, summary=_summary(rule, now))
                changes.append(_transition(before, now, tick, at_s))
            if now.state != "inactive":
                after[now.key] = now
    in_force = {rule.name for rule in rules}
    orphans = (alert for alert in alerts.values() if alert.rule not in in_force)
    # A rule that was taken away ends what people were told of.
    changes += [
        _transition(alert, _enter(alert, "inactive", at_s), tick, at_s) for alert in orphans
    ]
    return after, changes


def _enter(alert: Alert, state: State, at_s: float) -> Alert:
    return replace(alert, state=state, since_s=at_s)


def _transition(before: Alert, now: Alert, tick: int, at_s: float) -> Transition:
    identity = f"{now.host}|{now.rule}|{now.instance}|{tick}|{now.state}"
    return Transition(
        identity, now.rule, now.instance, now.host, now.severity,
        before.state, now.state, at_s, tick, now.value, now.summary,
    )  # fmt: skip


def _summary(rule: Rule, alert: Alert) -> str:
    from outrider.samples import bot_of

    subject = bot_of(alert.instance) or alert.instance
    return f"{rule.name}: {subject} ({alert.value:.4g}; rule: {rule.text})"
