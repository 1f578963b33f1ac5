"""Applies all rules to a row: what fires, what changed. Pure, given the plan's caches.

Truth is computed for all instances of a rule at once; only those that hold, or that something is
known of, are looked at one by one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from outrider.alerts import state
from outrider.alerts.binding import Bound, Names, bind
from outrider.alerts.frame import reach_s
from outrider.alerts.state import Alert, Seen, Transition
from outrider.errors import OutriderError
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.alerts.frame import Frame
    from outrider.alerts.rules import Rule
    from outrider.alerts.selectors import Key


@dataclass(slots=True)
class _Ready:
    """A rule bound to the series of a host."""

    rule: Rule
    condition: Bound
    held: Bound
    instances: list[str]
    place: dict[str, int]
    held_at: list[int]
    admitted: NDArray[np.bool_] | None
    known: frozenset[str]

    def truth(self, frame: Frame) -> NDArray[np.float64]:
        found = self.condition.run(frame)
        return found if self.admitted is None else np.where(self.admitted, found, np.nan)


class Engine:
    """Rules with what was found out about the series of each host, so that it is not done again."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.reach_s = reach_s(rules)
        self._names: dict[str, Names] = {}
        self._ready: dict[tuple[str, str], _Ready] = {}

    def evaluate(
        self, alerts: Mapping[str, Alert], frame: Frame, *, host: str, tick: int
    ) -> tuple[dict[str, Alert], list[Transition]]:
        """Return the alerts to remember after a row, and what changed. NaN is no data."""
        at_s = frame.at_s
        names = self._names_of(host, frame.names)
        known: dict[str, list[Alert]] = defaultdict(list)
        for alert in alerts.values():
            known[alert.rule].append(alert)
        after: dict[str, Alert] = {}
        changes: list[Transition] = []
        for rule in self.rules:
            mine = known.pop(rule.name, [])
            try:
                stepped = list(self._steps(rule, mine, names, frame, host))
            except (OutriderError, ArithmeticError, LookupError, TypeError, ValueError) as error:
                # What is wrong with one rule must not silence the others; a server that is away is
                # wrong with all of them.
                if not getattr(error, "permanent", True):
                    raise
                stepped = list(_failed(rule, mine, host, at_s, str(error)))
            # In an order that does not depend on where the alerts were kept.
            for before, now in sorted(stepped, key=lambda pair: pair[1].instance):
                kept = now
                if now.state != before.state:
                    if now.state != "error":
                        kept = replace(now, summary=_summary(rule, now, at_s))
                    changes.append(state.changed(before, kept, tick=tick, at_s=at_s))
                if kept.state != "inactive" or _is_remembered(rule, kept, at_s):
                    after[kept.key] = kept
        changes += _orphaned(known, tick, at_s)
        return after, changes

    def shown(self, rule: Rule, frame: Frame, host: str) -> dict[str, float]:
        """Return the numbers that people see of a rule's instances in a row; NaN left out."""
        names = self._names_of(host, frame.names)
        ready = self._ready.get((host, rule.name)) or self._bound(rule, [], names, host)
        values = ready.condition.shown(frame).tolist()
        pairs = zip(ready.instances, values, strict=True)
        return {name: value for name, value in pairs if not math.isnan(value)}

    def _names_of(self, host: str, series: tuple[str, ...]) -> Names:
        names = self._names.get(host)
        if names is None or (names.names is not series and names.names != series):
            names = self._names[host] = Names(series)
            for rule in self.rules:
                self._ready.pop((host, rule.name), None)
        return names

    def _steps(
        self, rule: Rule, mine: list[Alert], names: Names, frame: Frame, host: str
    ) -> Iterator[tuple[Alert, Alert]]:
        at_s = frame.at_s
        ready = self._bound(rule, mine, names, host)
        truth = ready.truth(frame)
        alerts = {alert.instance: alert for alert in mine}
        places = np.arange(len(truth)) if rule.watches_silence else np.flatnonzero(truth == 1)
        if not len(places) and not alerts:
            return
        shown = ready.condition.shown(frame).tolist()
        held = ready.held.run(frame).tolist() if ready.held is not ready.condition else truth
        fresh = [ready.instances[place] for place in places.tolist()]
        for instance in dict.fromkeys((*fresh, *alerts)):
            before = alerts.get(instance) or Alert(rule.name, instance, host, rule.severity)
            if not instance:  # the rule itself could not be evaluated, and now it can
                yield before, state.resolved(before, at_s)
                continue
            at = ready.place.get(instance, -1)
            if rule.watches_silence and before.state == "inactive" and at >= 0 and not truth[at]:
                yield before, state.noted(before, 0.0, at_s)  # it speaks, as it did
                continue
            if before.state == "resolved" and at >= 0 and truth[at] == 0:
                yield before, state.calm(before, at_s)  # it is over, and stays so
                continue
            seen = None
            if at >= 0 and not math.isnan(truth[at]):
                holds, held_at = bool(truth[at] == 1), ready.held_at[at]
                goes_on = holds or (held_at >= 0 and held[held_at] == 1)
                seen = Seen(shown[at], holds, goes_on)
                if rule.watches_silence:
                    seen = _silence(seen, before, at_s)
            if seen is not None and math.isnan(seen.value):
                seen = replace(seen, value=float(seen.holds))
            yield before, state.step(rule, before, seen, at_s)

    def _bound(self, rule: Rule, mine: list[Alert], names: Names, host: str) -> _Ready:
        known = frozenset(alert.instance for alert in mine) if rule.watches_silence else frozenset()
        ready = self._ready.get((host, rule.name))
        if ready is None or ready.known != known:
            ready = self._ready[host, rule.name] = _ready(rule, names, host, known)
        return ready


def _ready(rule: Rule, names: Names, host: str, known: frozenset[str]) -> _Ready:
    subject = rule.subject
    labels = rule.labels
    keys = [key for instance in sorted(known) if (key := subject.key(instance)) is not None]
    condition = bind(rule.condition, names, keys)
    held = condition if rule.held is rule.condition else bind(rule.held, names, keys)
    place = {key: at for at, key in enumerate(held.keys)}
    order = [condition.labels.index(label) for label in held.labels]
    held_at = [place.get(tuple(key[at] for at in order), -1) for key in condition.keys]
    to_subject = [condition.labels.index(label) for label in subject.labels if labels]

    def instance(key: Key) -> str:
        return subject.series(tuple(key[at] for at in to_subject)) if labels else subject.text

    instances = [instance(key) for key in condition.keys]
    admitted = None
    if rule.where:
        assert condition.labels == labels
        admitted = np.array([rule.applies(host, key) for key in condition.keys], dtype=bool)
    at = {name: place for place, name in enumerate(instances)}
    return _Ready(rule, condition, held, instances, at, held_at, admitted, known)


def _silence(seen: Seen, before: Alert, at_s: float) -> Seen | None:
    """Return what is seen of a thing that may be silent; for people: for how long."""
    silent_s = at_s - before.seen_s
    if seen.holds and (not before.seen_s or silent_s >= state.FORGOTTEN_AFTER_S):
        return None
    return replace(seen, value=silent_s if seen.holds else 0.0, present=not seen.holds)


def _is_remembered(rule: Rule, alert: Alert, at_s: float) -> bool:
    recent = alert.seen_s > 0 and at_s - alert.seen_s < state.FORGOTTEN_AFTER_S
    return rule.watches_silence and recent and bool(alert.instance)


def _failed(
    rule: Rule, mine: list[Alert], host: str, at_s: float, why: str
) -> Iterator[tuple[Alert, Alert]]:
    """Yield the alert that says that a rule can't be evaluated, and the others without data."""
    blank = Alert(rule.name, "", host, rule.severity)
    before = next((alert for alert in mine if not alert.instance), blank)
    if before.state == "error":
        yield before, replace(before, seen_s=at_s)
    else:
        summary = f"{rule.name}: can't be evaluated: {why}"
        now = replace(before, state="error", since_s=at_s, seen_s=at_s, summary=summary)
        yield before, now
    for alert in mine:
        if alert.instance:
            yield alert, state.step(rule, alert, None, at_s)


def _orphaned(known: Mapping[str, list[Alert]], tick: int, at_s: float) -> Iterator[Transition]:
    """Yield the end of the alerts of rules that were taken away: people were told of them."""
    for alert in (alert for group in known.values() for alert in group):
        if alert.fired_s or alert.state == "error":
            yield state.changed(alert, state.resolved(alert, at_s), tick=tick, at_s=at_s)
        elif alert.state not in ("inactive", "resolved"):
            now = replace(alert, state="inactive", since_s=at_s)
            yield state.changed(alert, now, tick=tick, at_s=at_s)


def _summary(rule: Rule, alert: Alert, at_s: float) -> str:
    if not alert.instance:
        return f"{rule.name}: can be evaluated again"
    bot = bot_of(alert.instance)
    subject = bot if bot and "*" not in bot else alert.instance
    text = f"{rule.name}: {subject} ({alert.value:.4g}; rule: {rule.text})"
    if alert.state == "resolved" and at_s - alert.seen_s >= state.GONE_AFTER_S:
        text += "; there is no data of it any more"
    return f"{text}. {rule.advice}" if rule.advice else text
