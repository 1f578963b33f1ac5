"""Which metric of Prometheus a series is: its family, its labels, its part of a summary.

``bot.canary.cache.profiles.hits_total`` becomes ``outrider_bot_cache_hits_total`` with the labels
host, bot and namespace. Built-in series are named by the catalogue. What a bot calls its own
becomes a family too, as long as its name is plain and free; else it is kept under its full name, as
the label ``series`` of ``outrider_bot_other...``: two odd names never fall together, and no bot can
take the name of another's metric or write a line of its own into the scrape.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outrider.metrics import catalog
from outrider.metrics.series import METRICS
from outrider.samples import bot_of, is_counter
from outrider.store import keys
from outrider.web import records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.metrics.metric import Metric

Kind = Literal["counter", "gauge", "summary", "histogram", "unknown"]
Labels = tuple[tuple[str, str], ...]

# Names that bots choose may become so many families; what is beyond goes under ``other``.
MOST_OWN_FAMILIES = 1000
# Enough for a large fleet; beyond it the memory of places begins anew.
_MOST_PLACES = 131_072
# A longer one becomes a label, which is cut.
_LONGEST_NAME = 200
_PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What a type adds to a family's name, in either format; no other family may be called like that.
_SUFFIXES: dict[str, tuple[str, ...]] = {
    "counter": ("", "_total", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "gauge": ("",),
    "unknown": ("",),
}
_QUANTILES = {"p50_s": "0.5", "p95_s": "0.95", "p99_s": "0.99"}
_PARTS = {"count": "count", "sum_s": "sum", **_QUANTILES}
_UNITS = {"s": "seconds", "bytes": "bytes", "ratio": "ratio"}


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric: ``name`` as OpenMetrics has it, a counter's without ``_total``."""

    name: str
    kind: Kind
    help: str

    @property
    def unit(self) -> str:
        """Return the unit that the name ends in, or nothing."""
        ends = self.name.rpartition("_")[2]
        return ends if ends in _UNITS.values() else ""

    def names(self) -> list[str]:
        """Return every name that its samples may have."""
        return [self.name + suffix for suffix in _SUFFIXES[self.kind]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a series stands in a scrape: ``labels`` are written out, ``part`` is a summary's."""

    family: Family
    labels: str
    part: str
    overflow: str


_LAST_LABEL = re.compile(r"\{(\w+)\}(?:_total)?$")


class Families:
    """Gives each series its place, and remembers it: a name never changes hands while we run."""

    def __init__(self, *, reserved: Mapping[str, str] | None = None) -> None:
        self._families: dict[tuple[str, Kind], Family] = {}
        self._owners: dict[str, Family] = {}
        self._places: dict[tuple[str, str, bool], Place] = {}
        self._own = 0
        for name, about in (reserved or {}).items():
            self._claim(name, "gauge", about)
        for metric in METRICS:
            if not metric.is_own:
                for part in ("count", "max_s") if metric.kind == "timing" else ("",):
                    self._claim(_built_in_name(metric, part), _kind(metric, part), metric.help)
        for area in ("outrider_bot_other", "outrider_other"):
            self._claim(area, "counter", "Counters whose names are no metric's.")
            self._claim(f"{area}_value", "gauge", "Series whose names are no metric's.")
            self._claim(f"{area}_seconds", "summary", "Timings whose names are no metric's.")

    def of(self, host: str, series: str, *, timed: bool) -> Place:
        """Return the place of a host's series. ``timed`` says that its timing is complete."""
        key = (host, series, timed)
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            place = self._places[key] = self._find(host, series, timed=timed)
        return place

    def other(self, name: str, kind: Kind, about: str) -> Family | None:
        """Return the family of a metric from elsewhere, or None when its name can't be had."""
        if not _NAME.fullmatch(name):
            return None
        return self._claim(name, kind, about, is_own=True)

    def _find(self, host: str, series: str, *, timed: bool) -> Place:
        shared: Labels = () if host == keys.FLEET else (("host", host),)
        found = catalog.find(series)
        if found and found.metric.kind == "timing" and not timed:
            found = None  # called like a part of a timing, and is none
        if found and not found.metric.is_own:
            family = self._claim(
                _built_in_name(found.metric, found.part),
                _kind(found.metric, found.part),
                found.metric.help,
            )
            assert family, series  # the table's names do not clash, as a test holds
            # A host that is named in the series is the one it is about.
            labels = tuple((dict(shared) | dict(found.labels)).items())
            return _placed(family, labels, found.part)
        return self._own_place(shared, series, found)

    def _own_place(self, shared: Labels, series: str, found: catalog.Found | None) -> Place:
        """Return the place of a series that the catalogue does not know by name."""
        part = found.part if found else ""
        bot = bot_of(series)
        labels = shared if bot is None else (*shared, ("bot", bot))
        name = series if bot is None else series.split(".", 2)[-1]
        if part:
            name = name.removesuffix(f".{part}")
        kind: Kind = "gauge"
        if part in _PARTS:
            kind = "summary"
        elif is_counter(series):
            kind = "counter"
        area = "outrider" if bot is None else "outrider_bot"
        if len(name) <= _LONGEST_NAME and _PLAIN.fullmatch(name):
            full = _with_unit(f"{area}_{name.replace('.', '_')}", kind, part)
            family = self._claim(full, kind, _about(found, name), is_own=True)
            if family:
                return _placed(family, labels, part)
        ends = {"counter": "", "gauge": "_value", "summary": "_seconds"}[kind]
        family = self._families[f"{area}_other{ends}", kind]
        shown = name if kind == "summary" or not part else f"{name}.{part}"
        return _placed(family, (*labels, ("series", shown)), part)

    def _claim(self, name: str, kind: Kind, about: str, *, is_own: bool = False) -> Family | None:
        """Return the family of that name and kind, made if its names are free; else None."""
        if known := self._families.get((name, kind)):
            return known
        family = Family(name, kind, about)
        if any(each in self._owners for each in family.names()):
            return None
        if is_own:
            if self._own >= MOST_OWN_FAMILIES:
                return None
            self._own += 1
        self._families[name, kind] = family
        self._owners.update(dict.fromkeys(family.names(), family))
        return family


def written(labels: Labels) -> str:
    r"""Return labels as they stand between the braces.

    >>> print(written((("host", 'a"b'), ("bot", "c"))))
    host="a\"b",bot="c"
    """
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def shown_name(metric: Metric) -> str:
    """Return how a metric is called at ``/metrics``, with what is only known there in capitals."""
    part = "count" if metric.kind == "timing" else ""
    name = _built_in_name(metric, part)
    if metric.is_own:
        name = name.replace("outrider_bot", "outrider_bot_NAME")
    return f"{name}_total" if metric.kind == "counter" else name


def _escaped(value: str) -> str:
    return records.clean(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _placed(family: Family, labels: Labels, part: str) -> Place:
    overflow = tuple((name, "overflow") for name, _ in labels)
    return Place(family, written(labels), _PARTS.get(part, ""), written(overflow))


def _built_in_name(metric: Metric, part: str) -> str:
    literal = _literal(metric.pattern)
    # A sum over a family must not count twice: what splits another metric up is one of its own.
    last = _LAST_LABEL.search(metric.pattern)
    if last and literal in _whole():
        total = "_total" if literal.endswith("_total") else ""
        literal = f"{literal.removesuffix('_total')}_by_{last[1]}{total}"
    return _with_unit(f"outrider_{literal}", _kind(metric, part), part)


def _literal(pattern: str) -> str:
    return re.sub(r"\.?\{\w+\}", "", pattern).replace(".", "_").strip("_")


@functools.cache
def _whole() -> frozenset[str]:
    """Return the names of metrics that do not end in a label."""
    patterns = [metric.pattern for metric in METRICS if not metric.is_own]
    return frozenset(_literal(each) for each in patterns if not _LAST_LABEL.search(each))


def _with_unit(name: str, kind: Kind, part: str) -> str:
    """Return a family's name: a timing in seconds, a counter without the end it gets back."""
    if kind == "summary":
        return f"{name}_seconds"
    if part:  # the longest of a timing
        return f"{name}_{part.removesuffix('_s')}_seconds"
    if kind == "counter":
        return name.removesuffix("_total")
    return f"{name.removesuffix('_s')}_seconds" if name.endswith("_s") else name


def _kind(metric: Metric, part: str) -> Kind:
    if metric.kind == "timing":
        return "summary" if part in _PARTS else "gauge"
    return "counter" if metric.kind == "counter" else "gauge"


def _about(found: catalog.Found | None, name: str) -> str:
    what = found.metric.help if found else "Not in the catalogue of this version."
    return f"{what} Its name there: {name}."
