"""One scrape: rows, alerts and what other sources have, as Prometheus reads it.

Nothing that was measured is left out unseen: what has no place is folded (``cardinality``), what
the format can't say is counted as refused, and a source that fails is a series.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider.metrics.catalog import TIMING_PARTS
from outrider.web import openmetrics
from outrider.web.cardinality import Cardinality
from outrider.web.families import Families, Place, written

if TYPE_CHECKING:
    from outrider.samples import Row
    from outrider.web.families import Family, Kind

logger = logging.getLogger(__name__)

# One sample of another source: its name as it is to be rendered, its kind, labels and value.
Ready = tuple[str, str, Mapping[str, str], float]
_KINDS: dict[str, Kind] = {
    "counter": "counter", "gauge": "gauge", "summary": "summary", "histogram": "histogram",
    "unknown": "unknown", "untyped": "unknown",
}  # fmt: skip
_BOUNDS = {"summary": "quantile", "histogram": "le"}
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OF_A_TIMING = (".count", ".sum_s")
_ENDS_OF_PARTS = tuple(f".{part}" for part in TIMING_PARTS)
# Families that a warning names.
_NAMED = 3
# What a scrape says besides the series; nobody else may call a metric so.
_OURS = {
    "outrider_dashboard_redis_up": "1 when Redis answered this scrape.",
    "outrider_row_timestamp_seconds": "Start of the tick of a host's newest row.",
    "outrider_alert_firing": "An alert that fires; series is what it watches.",
    "outrider_exposition_source_up": "1 when a source beside the rows could be read.",
    "outrider_exposition_series": "Series of this scrape; a summary counts once.",
    "outrider_exposition_overflow_series": "Series folded into the label overflow.",
    "outrider_exposition_family_overflow_series": "Series folded, by family.",
    "outrider_exposition_refused_samples": "Values that the format can't say, and double ones.",
}


@dataclass(frozen=True, slots=True)
class Other:
    """A source beside our rows, such as Celery's events. ``samples`` may block, and may fail."""

    name: str
    samples: Callable[[], Iterable[Ready]]


class Exposition:
    """Renders scrapes. Keeps what makes the next one cheap; one scrape at a time."""

    def __init__(self, *, limits: Cardinality | None = None) -> None:
        self._families = Families(reserved=_OURS)
        self._limits = limits or Cardinality()
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._out: dict[str, int] = {}

    def render(
        self,
        rows: Iterable[Row],
        alerts: Iterable[dict[str, Any]],
        *,
        reachable: bool,
        accept: str = "",
        others: Iterable[Other] = (),
    ) -> tuple[bytes, str]:
        """Return ``(body, content type)``: OpenMetrics when ``accept`` asks for it, else text."""
        content = openmetrics.content_type(accept)
        with self._lock:
            self._limits.begin()
            scrape = _Scrape(self._families, self._limits)
            scrape.ours("dashboard_redis_up", float(reachable))
            for row in rows:
                scrape.row(row)
            for alert in alerts:
                scrape.alert(alert)
            for other in others:
                scrape.other(other)
            self._out = self._limits.out
            scrape.of_itself(self._out)
            self._warn()
            return openmetrics.text(scrape.held.items(), content), content

    def notices(self) -> list[str]:
        """Return what an operator should know of the last scrape; nothing while all is well."""
        if not self._out:
            return []
        most = sorted(self._out, key=lambda family: -self._out[family])[:_NAMED]
        more = ", ..." if len(self._out) > _NAMED else ""
        text = (
            "/metrics has more series than it may; folded into the label overflow:"
            f" {sum(self._out.values())} of {', '.join(most)}{more}."
            " Count by fewer names, or drop what nobody reads."
        )
        return [text]

    def _warn(self) -> None:
        fresh = self._out.keys() - self._warned
        if fresh:
            self._warned |= fresh
            logger.warning("%s", self.notices()[0])


class _Scrape:
    """The families of one scrape."""

    def __init__(self, families: Families, limits: Cardinality) -> None:
        self.held: dict[Family, dict[str, dict[str, float]]] = {}
        self._families = families
        self._limits = limits
        self._refused = 0

    def row(self, row: Row) -> None:
        """Add a host's row."""
        values, host, place_of = row.values, row.host, self._families.of
        for series, value in values.items():
            timed = False
            if series.endswith(_ENDS_OF_PARTS):
                timing = series.rpartition(".")[0]
                timed = all(timing + part in values for part in _OF_A_TIMING)
            self._add(place_of(host, series, timed=timed), value)
        self.ours("row_timestamp_seconds", row.at_s, host=row.host)

    def alert(self, alert: Mapping[str, Any]) -> None:
        """Add an alert if it fires. Its instance is a series; ``instance`` is Prometheus' own."""
        if alert["state"] == "firing":
            named = {"rule": "rule", "instance": "series", "host": "host", "severity": "severity"}
            labels = {label: str(alert[key]) for key, label in named.items()}
            self._ready("outrider_alert_firing", "gauge", labels, 1.0)

    def other(self, other: Other) -> None:
        """Add what another source has; one that fails costs nothing but its own series."""
        up = 1.0
        try:
            for ready in other.samples():
                self._ready(*ready)
        except Exception:
            up = 0.0
            logger.exception(
                "The metrics of %s can't be read; the rest of the scrape is.", other.name
            )
        self.ours("exposition_source_up", up, source=other.name)

    def of_itself(self, out: Mapping[str, int]) -> None:
        """Add what this scrape says of itself."""
        self.ours("exposition_series", float(sum(map(len, self.held.values()))))
        self.ours("exposition_overflow_series", float(sum(out.values())))
        self.ours("exposition_refused_samples", float(self._refused))
        for family, count in sorted(out.items()):
            self.ours("exposition_family_overflow_series", float(count), family=family)

    def ours(self, name: str, value: float, **labels: str) -> None:
        """Add a gauge of our own, limits or not: they are few, and the last to be missed."""
        family = self._families.other(f"outrider_{name}", "gauge", "")
        assert family, name  # reserved
        self.held.setdefault(family, {})[written(tuple(labels.items()))] = {"": value}

    def _ready(self, name: str, kind: str, labels: Mapping[str, str], value: float) -> None:
        """Add a sample that has its name and labels already."""
        wanted, base, part = _taken_apart(name, _KINDS.get(kind, "unknown"), labels)
        bound = _BOUNDS.get(wanted, "")
        pairs = tuple((label, str(given)) for label, given in labels.items() if label != bound)
        family = self._families.other(base, wanted, f"{base}, of another source.")
        if family is None or not all(_LABEL.fullmatch(label) for label, _ in pairs):
            self._refused += 1
            return
        overflow = written(tuple((label, "overflow") for label, _ in pairs))
        self._add(Place(family, written(pairs), part, overflow), value)

    def _add(self, place: Place, value: float) -> None:
        if math.isnan(value):  # measured and nothing there: Prometheus shows a gap
            return
        if _is_broken(place, value):
            self._refused += 1
            return
        samples = self.held.get(place.family)
        if samples is None:
            samples = self.held[place.family] = {}
        if self._limits.admits(place):
            parts = samples.get(place.labels)
            if parts is None:
                samples[place.labels] = {place.part: value}
            elif place.part in parts:
                self._refused += 1
            else:
                parts[place.part] = value
            return
        parts = samples.setdefault(place.overflow, {})
        parts[place.part] = self._limits.fold(place, value, parts.get(place.part))


def _taken_apart(name: str, kind: Kind, labels: Mapping[str, str]) -> tuple[Kind, str, str]:
    """Return a sample's kind, family and part; of unknown kind when it does not fit its own.

    >>> _taken_apart("celery_task_runtime_bucket", "histogram", {"le": "0.5"})
    ('histogram', 'celery_task_runtime', '0.5')
    """
    bound = labels.get(_BOUNDS.get(kind, ""), "")
    if kind == "counter" and name.endswith("_total"):
        return kind, name.removesuffix("_total"), ""
    if kind in _BOUNDS:
        for part in ("count", "sum"):
            if name.endswith(f"_{part}"):
                return kind, name.removesuffix(f"_{part}"), part
        if _is_number(bound):
            return kind, name.removesuffix("_bucket"), bound
    return ("gauge" if kind == "gauge" else "unknown"), name, ""


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _is_broken(place: Place, value: float) -> bool:
    """Tell whether a value can't be: a total below nought or without end, half a count."""
    kind, part = place.family.kind, place.part
    if kind == "counter" or part == "sum":
        return value < 0 or math.isinf(value)
    if kind in ("summary", "histogram") and not (kind == "summary" and part != "count"):
        return value < 0 or not float(value).is_integer()
    return False
