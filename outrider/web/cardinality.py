"""How many series a scrape may have, and what becomes of those beyond.

A Prometheus server pays for every series for hours, so that one bot which counts by user must not
cost it its memory. Each family has so many places, and so has the whole scrape. Who has a place
keeps it while it is there. All others of a family are folded into one series whose labels say
``overflow``: counters added up, of gauges the greatest. The sum of counters only ever grows, also
when one of them goes away: increases are added, not readings, or Prometheus would see a reset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.web.families import Family, Place

SERIES_PER_FAMILY = 2000
SERIES_IN_ALL = 50_000
_SUMMED = frozenset({"count", "sum"})


@dataclass(slots=True)
class _Folded:
    """One part of a family's overflow. ``seen`` holds each counter's last reading."""

    total: float = 0.0
    seen: dict[str, float] = field(default_factory=dict)


class Cardinality:
    """Decides who has a place. Remembers from scrape to scrape; not for two threads at once."""

    def __init__(self, *, per_family: int = SERIES_PER_FAMILY, in_all: int = SERIES_IN_ALL) -> None:
        self.per_family = per_family
        self.in_all = in_all
        self._places: dict[Family, dict[str, int]] = {}
        self._used = 0
        self._scrape = 0
        self._folded: dict[tuple[Family, str, str], _Folded] = {}
        self._out: dict[Family, set[str]] = {}

    def begin(self) -> None:
        """Begin a scrape: who was not in the last one gives its place back."""
        for family, places in list(self._places.items()):
            gone = [labels for labels, seen in places.items() if seen < self._scrape]
            for labels in gone:
                del places[labels]
            self._used -= len(gone)
            if not places:
                del self._places[family]
        for (family, _, _), folded in self._folded.items():
            if len(folded.seen) > self.in_all:  # names that come and go must not fill our memory
                there = self._out.get(family, set())
                folded.seen = {each: seen for each, seen in folded.seen.items() if each in there}
        self._scrape += 1
        self._out.clear()

    def admits(self, place: Place) -> bool:
        """Tell whether a series has a place in this scrape, and keep it for the next."""
        places = self._places.get(place.family)
        if places is None:
            places = self._places[place.family] = {}
        if place.labels in places:
            places[place.labels] = self._scrape
            return True
        # What is called like an overflow would be taken for one.
        if place.labels == place.overflow and place.labels:
            return False
        if len(places) >= self.per_family or self._used >= self.in_all:
            return False
        places[place.labels] = self._scrape
        self._used += 1
        return True

    def fold(self, place: Place, value: float, now: float | None) -> float:
        """Return the overflow's value with one more series in it; ``now`` is its value so far."""
        self._out.setdefault(place.family, set()).add(place.labels)
        if place.family.kind != "counter" and place.part not in _SUMMED:
            return value if now is None else max(now, value)
        key = (place.family, place.overflow, place.part)
        folded = self._folded.setdefault(key, _Folded())
        before = folded.seen.get(place.labels, 0.0)
        folded.total += value - before if value >= before else value
        folded.seen[place.labels] = value
        return folded.total

    @property
    def out(self) -> dict[str, int]:
        """How many series of each family are folded, in this scrape."""
        return {family.name: len(labels) for family, labels in self._out.items()}
