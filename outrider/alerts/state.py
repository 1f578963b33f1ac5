"""The states of an alert, as a pure function: nothing here reads a clock or writes a key.

::

    inactive ──holds──► pending ──held for `for`──► firing ◄──────holds───────┐
        ▲  └──────────holds, without `for`────────────▲ │                     │
        │                     │                         ├──holds not──► recovering
        │◄──holds not─────────┘                         │                     │
        │                                               │     `keep_firing_for` is over
        └──15 min──── resolved ◄──holds not, or 5 min without data────────────┘
                          ▲                             │
                          └────── no_data ◄──1 min without data
                                     └──holds──► firing

    error: a rule that can't be evaluated on a host, as one alert without an instance

The same rows in the same order always give the same transitions, so history can be replayed. A
transition's id names rule, instance, tick and target: delivered twice, it is stored once. People
are told when something begins to fire, when it is resolved, and of an error; what recovers and
fires again is one alarm.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from outrider.alerts.rules import Severity  # noqa: TC001 - msgspec reads Alert's hints

if TYPE_CHECKING:
    from outrider.alerts.rules import Rule

State = Literal["inactive", "pending", "firing", "recovering", "resolved", "no_data", "error"]
# A gap of a row or two is no news of an alert that fires.
NO_DATA_AFTER_S = 60.0
# A bot that was scaled away takes its series along; its alert must not fire for ever.
GONE_AFTER_S = 300.0
# What is over stays in sight for a while: whoever comes to look finds it.
RESOLVED_FOR_S = 900.0
# A thing that was silent for a day has been taken away; until then its silence is an alert.
FORGOTTEN_AFTER_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Alert:
    """What is known of one rule on one instance. Times are seconds since 1970.

    ``fired_s`` is when it began to fire, 0 when it does not; it outlasts recovering and no data.
    """

    rule: str
    instance: str
    host: str
    severity: Severity
    state: State = "inactive"
    since_s: float = 0.0
    value: float = 0.0
    seen_s: float = 0.0
    summary: str = ""
    fired_s: float = 0.0

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

    @property
    def is_news(self) -> bool:
        """Tell whether people are told of it."""
        if self.to == "firing":
            return self.before not in ("recovering", "no_data")
        ended = self.to == "inactive" and self.before == "firing"  # as older versions wrote it
        return ended or self.to in ("resolved", "error")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON-able data; ``before`` is called ``from`` there."""
        data = asdict(self)
        data["from"] = data.pop("before")
        return data


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row says of an instance: the number for people, and whether the condition holds.

    ``held`` is whether a firing alert goes on; ``present`` is false while the thing is silent, for
    rules that watch silence.
    """

    value: float
    holds: bool
    held: bool
    present: bool = True


def step(rule: Rule, alert: Alert, seen: Seen | None, at_s: float) -> Alert:
    """Return what an alert becomes when a row says ``seen`` of it (None: no data) at ``at_s``."""
    if seen is None:
        return _unseen(alert, at_s)
    silent_s = at_s - alert.seen_s
    # What is kept must be a number in JSON too, which has no infinities.
    shown = max(-sys.float_info.max, min(sys.float_info.max, seen.value))
    alert = noted(alert, shown, at_s if seen.present else alert.seen_s)
    if alert.fired_s:
        return _burning(rule, alert, at_s, held=seen.held)
    if not seen.holds:
        return calm(alert, at_s)
    if alert.state != "pending" or (seen.present and silent_s >= GONE_AFTER_S):
        if not rule.active.holds(at_s):
            return calm(alert, at_s)
        alert = _enter(alert, "pending", at_s)
    if at_s - alert.since_s >= rule.for_s:
        alert = replace(_enter(alert, "firing", at_s), fired_s=at_s)
    return alert


def noted(alert: Alert, value: float, seen_s: float) -> Alert:
    """Return an alert with what a row says of it; written out, since every row does it often."""
    return Alert(
        alert.rule, alert.instance, alert.host, alert.severity, alert.state, alert.since_s,
        value, seen_s, alert.summary, alert.fired_s,
    )  # fmt: skip


def _burning(rule: Rule, alert: Alert, at_s: float, *, held: bool) -> Alert:
    if held:
        return alert if alert.state == "firing" else _enter(alert, "firing", at_s)
    if alert.state == "firing" and rule.keep_firing_for_s:
        return _enter(alert, "recovering", at_s)
    if alert.state == "recovering" and at_s - alert.since_s < rule.keep_firing_for_s:
        return alert
    return resolved(alert, at_s)


def calm(alert: Alert, at_s: float) -> Alert:
    """Return what an alert is while its condition does not hold; what was resolved shows so yet."""
    over = alert.state == "resolved" and at_s - alert.since_s < RESOLVED_FOR_S
    return alert if over or alert.state == "inactive" else _enter(alert, "inactive", at_s)


def _unseen(alert: Alert, at_s: float) -> Alert:
    silent_s = at_s - alert.seen_s
    match alert.state:
        case "pending" if silent_s >= GONE_AFTER_S:
            return _enter(alert, "inactive", at_s)
        case "firing" | "recovering" | "no_data" if silent_s >= GONE_AFTER_S:
            return resolved(alert, at_s)
        case "firing" | "recovering" if silent_s >= NO_DATA_AFTER_S:
            return _enter(alert, "no_data", at_s)
        case "resolved":
            return calm(alert, at_s)
        case _:
            return alert


def resolved(alert: Alert, at_s: float) -> Alert:
    """Return what an alert is when it is over."""
    return replace(_enter(alert, "resolved", at_s), fired_s=0.0)


def _enter(alert: Alert, state: State, at_s: float) -> Alert:
    return replace(alert, state=state, since_s=at_s)


def changed(before: Alert, now: Alert, *, tick: int, at_s: float) -> Transition:
    """Return the transition from one state to the next."""
    identity = f"{now.host}|{now.rule}|{now.instance}|{tick}|{now.state}"
    return Transition(
        identity, now.rule, now.instance, now.host, now.severity,
        before.state, now.state, at_s, tick, now.value, now.summary,
    )  # fmt: skip
