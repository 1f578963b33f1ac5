"""Objectives: which share of what must be good, over which period; those of the settings and ours.

Budgets count *slices* unless told otherwise: a tick in which anything happened counts once, and is
good when no less than the objective of it was. That suits bots: a burst of failures within ten
seconds is one mishap and not fifty, and where a tick has one event at most it makes no difference.
A busy bot, of which a small share of each tick's many events may fail, wants ``occurrences``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from outrider.errors import BadArgument
from outrider.slo import indicator as indicators

if TYPE_CHECKING:
    from outrider.settings import Settings, SloSettings
    from outrider.slo.indicator import Indicator

Method = Literal["timeslices", "occurrences"]
PERIOD_S = 30 * 86_400.0
_OTHER = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective. ``slug`` is its name in series; ``each`` holds every bot to it by itself."""

    name: str
    slug: str
    indicator: Indicator
    objective: float
    period_s: float = PERIOD_S
    bots: tuple[str, ...] = ("*",)
    each: bool = False
    method: Method = "timeslices"

    @property
    def budget(self) -> float:
        """Return the share that may be bad."""
        return 1.0 - self.objective

    def concerns(self, who: str) -> bool:
        """Tell whether it is about this bot (or host)."""
        return any(fnmatchcase(who, pattern) for pattern in self.bots)

    def counted(self, good: int, total: int) -> tuple[int, int]:
        """Return what a tick adds to the budget's counters."""
        if self.method == "occurrences" or not self.indicator.is_per_event:
            return good, total
        return (int(good >= self.objective * total), 1) if total else (0, 0)


def slug(name: str) -> str:
    """Return a name as it stands in series.

    >>> slug("Canary answers (fast)")
    'canary-answers-fast'
    """
    return _OTHER.sub("-", name.lower()).strip("-")


def of(given: SloSettings) -> Objective:
    """Return a checked objective.

    Raises:
        BadArgument: the indicator can't be read, or nothing of the name can stand in a series.
    """
    made = slug(given.name)
    if not made:
        raise BadArgument(f"slo name = {given.name!r}: needs a letter or digit, such as 'answers'.")
    try:
        found = indicators.parse(given.indicator)
    except BadArgument as error:
        raise BadArgument(f"slo {given.name!r}: {error}") from None
    return Objective(
        given.name, made, found, given.objective, given.period_s, given.bots, given.each_bot,
        given.method,
    )  # fmt: skip


BUILT_IN = (
    Objective("bots are alive", "bots-are-alive", indicators.parse("alive"), 0.995),
    Objective("ticks on time", "ticks-on-time", indicators.parse("ticks"), 0.99),
)


def of_settings(settings: Settings) -> list[Objective]:
    """Return the objectives in force; one of the settings replaces ours of the same name.

    Raises:
        BadArgument: one can't be read, or two would have the same series.
    """
    found = {each.slug: each for each in BUILT_IN}
    own: dict[str, str] = {}
    for given in settings.slo:
        made = of(given)
        if made.slug in own:
            raise BadArgument(
                f"slo {given.name!r}: its series would be those of {own[made.slug]!r} "
                f"(slo.{made.slug}); rename one."
            )
        own[made.slug] = given.name
        found[made.slug] = made
    return list(found.values())
