"""Inhibition: when a host is down, nobody needs to hear of each of its bots.

Worked out at each look from the alert states that are stored, never from what a process has seen:
Alertmanager's inhibited alerts fire after a restart, because the alert that hides them has not come
in again yet. What hides is collected by the values of the labels that must be equal, so that asking
costs the same however many alerts there are.

An alert that is hidden hides nothing itself. Rules are applied in their order, so that two alerts
which hide each other never both fall silent: the one that the first rule names as source is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.alerts import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from outrider.settings import Settings

    Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Inhibition:
    """Alerts that match ``source`` hide those that match ``target``, ``equal`` labels given."""

    name: str
    source: dict[str, str]
    target: dict[str, str]
    equal: tuple[str, ...] = ()

    def values(self, found: Labels) -> tuple[str, ...] | None:
        """Return the values that must be equal; None when a label is missing."""
        values = tuple(found.get(name, "") for name in self.equal)
        return values if all(values) else None


BUILT_IN = (
    Inhibition("host is silent", {"rule": "host is silent"}, {}, ("host",)),
    Inhibition(
        "bot gave up", {"rule": "bot gave up restarting"}, {"rule": "bot is down"}, ("host", "bot")
    ),
    Inhibition("bot is down", {"rule": "bot is down"}, {"rule": "bot is silent"}, ("host", "bot")),
    Inhibition(
        "Celery broker is away", {"rule": "Celery broker is away"}, {"rule": "Celery *"}, ("host",)
    ),
    Inhibition(
        "error budget burns fast",
        {"rule": "error budget burns fast"},
        {"rule": "error budget *"},
        ("budget",),
    ),
)


def of_settings(settings: Settings) -> list[Inhibition]:
    """Return the inhibitions in force: the user's, and the built-in ones not replaced by name."""
    own = [
        Inhibition(one.name, one.source, one.target, one.equal)
        for one in settings.inhibit
        if one.enabled
    ]
    named = {one.name for one in settings.inhibit}
    return [*own, *(one for one in BUILT_IN if one.name not in named)]


class Inhibited:
    """Says what hides an alert, given those that fire now."""

    def __init__(self, rules: Sequence[Inhibition], firing: Iterable[Labels]) -> None:
        self._rules: list[tuple[Inhibition, set[tuple[str, ...]]]] = []
        sources = [
            found for found in firing if any(labels.matches(rule.source, found) for rule in rules)
        ]
        for rule in rules:
            hiding = {
                values
                for found in sources
                if labels.matches(rule.source, found)
                and (values := rule.values(found)) is not None
                and self.by(found) is None
            }
            self._rules.append((rule, hiding))

    def by(self, found: Labels) -> str | None:
        """Return what hides an alert with these labels, or None."""
        for rule, hiding in self._rules:
            # An alert that hides others by a rule is not hidden by it, least of all by itself.
            if (
                hiding
                and rule.values(found) in hiding
                and labels.matches(rule.target, found)
                and not labels.matches(rule.source, found)
            ):
                return f"hidden by {rule.name}"
        return None
