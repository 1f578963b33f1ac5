"""Which series are odd at present, and since when: a spell begins with an alarm and ends in calm.

The detector alarms once an event. Its spell lasts while the values stay beyond what was expected
when it began (a flat line: while they stand still), and until the detector itself takes them for
usual: what lasts becomes normal. CALM_TICKS in a row without either end it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from outrider.analysis.anomaly_detector import ALARM_THRESHOLD
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from outrider.analysis.anomaly_bank import AnomalyBank
    from outrider.analysis.beginnings import Annotation

    Floats = NDArray[np.float64]

CALM_TICKS = 6
# A start or deploy so long before explains what is odd since.
AFTER_S = 300.0


class Spell(msgspec.Struct):
    """How long a series has been odd, and how. ``calm`` counts the ticks that were not.

    ``low`` to ``high`` was expected when it began; ``value`` is the newest, of a counter its rate
    per second. ``after`` is what was done to its bot just before; ``told``: it was news.
    """

    since_s: float
    component: str
    low: float
    high: float
    value: float
    score: float
    calm: int = 0
    after: str = ""
    told: bool = False

    def tell(self) -> bool:
        """Return whether this is news: the first time that it is asked."""
        was, self.told = self.told, True
        return not was


def follow(
    spells: dict[str, Spell], at_s: float, judged: Floats, scores: Floats, *,
    names: Sequence[str], bank: AnomalyBank, noted: Sequence[Annotation] = (),
) -> None:  # fmt: skip
    """Let spells begin, go on and end with a tick that the bank has just scored."""
    if spells:
        evidence, places = bank.evidence, {name: place for place, name in enumerate(names)}
        for name, spell in [*spells.items()]:
            place = places.get(name)
            if place is None:
                del spells[name]
            else:
                _go_on(spell, float(judged[place]), float(evidence[place]))
                if spell.calm >= CALM_TICKS:
                    del spells[name]
    for place in np.flatnonzero(scores >= ALARM_THRESHOLD).tolist():
        found = bank.explain(place)
        if found is not None and names[place] not in spells:
            spells[names[place]] = Spell(
                found.since_s, found.component, found.low, found.high, found.observed,
                float(scores[place]), after=_after(names[place], found.since_s, at_s, noted),
            )  # fmt: skip


def _go_on(spell: Spell, value: float, evidence: float) -> None:
    if not np.isfinite(value):
        spell.calm += 1
        return
    if spell.component == "flat_line":
        is_odd = value == spell.value
    else:
        is_odd = evidence > 0 and not spell.low <= value <= spell.high
    spell.calm = 0 if is_odd else spell.calm + 1
    spell.value = value


def _after(series: str, since_s: float, at_s: float, noted: Sequence[Annotation]) -> str:
    """Return what was done to the series' bot shortly before it became odd."""
    bot = bot_of(series)
    near = [
        each.what for each in noted if since_s - AFTER_S <= each.at_s <= at_s and each.concerns(bot)
    ]
    return near[-1] if near else ""
