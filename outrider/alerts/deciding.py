"""What to tell of a group of alerts, as a pure function of its members and of the moment.

Members are looked at one by one and only counts and the first few of each kind are kept, so that
ten thousand cost time but no memory. What each may be:

=========  ==========================================================================
new        fires, and people do not know; or what they said they would do has run out
still      fires, and people know
acked      fires, and somebody has it: counts, but causes no message
hidden     fires, and is silenced or hidden by another alert
ended      is over, and is told: also what was over before anybody could be told
dropped    is over, and nobody was to know
=========  ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from outrider.alerts.message import worst
from outrider.alerts.outbox import ACTIVE

if TYPE_CHECKING:
    from outrider.alerts.acknowledgement import Acknowledgement
    from outrider.alerts.routes import Route

Fate = Literal["new", "still", "acked", "hidden", "ended", "dropped"]
# Silences and inhibitions end by themselves: what they hide is looked at again this often.
RECHECK_S = 60.0


def judge(
    change: dict[str, Any],
    *,
    told: bool,
    ack: Acknowledgement | None,
    hidden: bool,
    now_s: float,
    missed: bool = False,
) -> Fate:
    """Return what one member of a group is now.

    ``missed``: it was told, but while it was hidden its message was replaced before it was sent.
    """
    if change["to"] not in ACTIVE:
        # The end of what people know of is told in any case: somebody waits for it.
        return "ended" if told or not hidden else "dropped"
    if hidden:
        return "hidden"
    if ack and ack.holds(now_s):
        return "acked"
    return "still" if told and not ack and not missed else "new"


@dataclass
class Tally:
    """What is kept of a group's members: counts, the first of each fate, what is to be noted."""

    most: int
    counts: dict[str, int] = field(default_factory=dict)
    listed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    severities: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    run_out: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    since_s: float | None = None
    recheck_s: float | None = None

    def add(
        self,
        key: str,
        change: dict[str, Any],
        fate: Fate,
        ack: Acknowledgement | None,
        now_s: float,
    ) -> None:
        """Count a member."""
        self.counts[fate] = self.counts.get(fate, 0) + 1
        listed = self.listed.setdefault(fate, [])
        if len(listed) < self.most:
            listed.append(change)
        if fate in ("new", "still"):
            since_s = max(change["at_s"], ack.until_s or 0.0) if ack else change["at_s"]
            self.since_s = min(since_s, self.since_s or since_s)
        if fate in ("new", "still", "ended"):
            self.severities.add(change["severity"])
        match fate:
            case "new":
                self.told.append(key)
                self.run_out += [key] * bool(ack)
            case "ended" | "dropped":
                self.over.append(key)
            case "hidden":
                self.hidden.append(key)
                self._recheck(now_s + RECHECK_S)
            case "acked" if ack and ack.until_s is not None:
                self._recheck(ack.until_s)

    def _recheck(self, at_s: float) -> None:
        self.recheck_s = min(at_s, self.recheck_s or at_s)

    def of(self, *fates: str) -> int:
        """Return how many have one of these fates."""
        return sum(self.counts.get(fate, 0) for fate in fates)


@dataclass(frozen=True, slots=True)
class Decision:
    """``kind`` None: nobody is told now. ``sinks_only``: only machines are reminded.

    ``level`` says who is told, ``kept`` at which level the group goes on.
    """

    kind: str | None
    level: int
    next_s: float
    kept: int = 0
    severity: str = "info"
    sinks_only: bool = False


def decide(
    tally: Tally, route: Route, *, last_s: float | None, level: int, now_s: float
) -> Decision:
    """Return whether a group's message is due, of what kind, and when to look again."""
    severity, unacknowledged = worst(sorted(tally.severities)), tally.of("new", "still")
    since_s = now_s if tally.since_s is None else tally.since_s
    due_levels = sum(now_s - since_s >= after_s for after_s, _ in route.levels)
    # Whoever was called in stays in until it is over, and hears of the end.
    reached = max(level, due_levels if unacknowledged else 0)
    kind, sinks_only = None, False
    repeats_s = None if last_s is None else last_s + route.repeat_s
    held_until_s = None
    if unacknowledged and reached > level:
        kind = "escalation"
    elif tally.of("new", "ended"):
        kind = "news"
        if last_s is not None and now_s < last_s + route.group_interval_s:
            kind, held_until_s = None, last_s + route.group_interval_s
    elif repeats_s is not None and now_s >= repeats_s and tally.of("still", "acked"):
        # Somebody has them all: people are left alone, but a machine forgets what is not renewed.
        kind, sinks_only = "reminder", not unacknowledged
    told_s = now_s if kind else (last_s or now_s)
    looks = [told_s + route.repeat_s, tally.recheck_s, held_until_s]
    if unacknowledged and reached < len(route.levels):
        looks.append(since_s + route.levels[reached][0])
    next_s = min(at_s for at_s in looks if at_s is not None)
    is_over = kind is not None and not tally.of("new", "still", "acked", "hidden")
    kept = 0 if is_over else reached
    return Decision(kind, reached, max(next_s, now_s), kept, severity, sinks_only)
