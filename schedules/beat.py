"""The table of what beat sends, and how often. Tasks are named, not imported.

An entry is due once a *tick* of its own interval, ``floor(time / every_s)``. A message that waits
longer than its interval expires, so that a stall never becomes a backlog.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outrider.errors import Problem, SettingsError
from outrider.schedules.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.settings import Settings


PATIENT_FROM_S = 600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table. ``numbered`` entries get the tick as their argument ``tick``."""

    name: str
    task: str
    every_s: float
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False

    @property
    def patient(self) -> bool:
        """Whether a new fleet waits for its next tick: rare work is heavy, and starts are busy."""
        return self.every_s >= PATIENT_FROM_S


def table(settings: Settings) -> list[Entry]:
    """Return the entries in force: the profile's intervals with the user's changes.

    Raises:
        SettingsError: ``[schedule.NAME]`` names an entry that does not exist.
    """
    every = PROFILES[settings.profile]
    warm_s = (change.every_s if (change := settings.schedule.get("warm")) else None) or every[
        "warm"
    ]
    entries = [
        Entry("collect", "outrider.collect.fleet", settings.interval_s, numbered=True),
        Entry("pools", "outrider.tune.pools", every["pools"]),
        Entry("baseline", "outrider.analyse.baseline", every["baseline"]),
        Entry("warm", "outrider.warm.plan", warm_s, {"every_s": warm_s}),
        Entry("escalate", "outrider.alert.escalate", every["escalate"]),
        Entry("seal", "outrider.maintain.seal", every["seal"]),
        Entry("rollup", "outrider.maintain.rollup", every["rollup"]),
        Entry("expire", "outrider.maintain.expire", every["expire"]),
        Entry("tune", "outrider.tune.all", every["tune"]),
        Entry("validate", "outrider.validate.run", every["validate"], {"phases": ["monitoring"]}),
    ]
    _refuse_unknown(settings, {entry.name for entry in entries})
    return [
        Entry(entry.name, entry.task, change.every_s or entry.every_s, entry.kwargs, entry.numbered)
        if (change := settings.schedule.get(entry.name))
        else entry
        for entry in entries
        if entry.name not in settings.schedule or settings.schedule[entry.name].enabled
    ]


def _refuse_unknown(settings: Settings, known: set[str]) -> None:
    problems = [
        Problem(
            "outrider.toml", f"schedule.{name}", None, "no such entry.",
            f"Known: {', '.join(sorted(known))}.",
        )
        for name in settings.schedule
        if name not in known
    ]  # fmt: skip
    if problems:
        raise SettingsError(problems)
