"""Reads a page of Prometheus metrics, text or OpenMetrics, into our series.

Parsed by prometheus_client, which costs some 10 us a line: lines that nobody wants are left out
before. Counters become ``_total`` series; a histogram or summary becomes ``.count``, ``.sum_s`` (or
``.sum_total`` of what is no time) and ``.p50_s``, ``.p95_s``, ``.p99_s``. A histogram's quantiles
are of what was observed since the last look, between its buckets by straight lines, as Prometheus'
``histogram_quantile`` does: as exact as the buckets are narrow. When nothing was observed they are
NaN, so that a row has the same names at each tick.
"""

from __future__ import annotations

import fnmatch
import functools
import math
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from outrider import samples
from outrider.metrics import folding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Buckets = dict[float, float]
    Histograms = dict[str, Buckets]

MOST_LINES = 20_000
QUANTILES = (0.5, 0.95, 0.99)
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")
_NAME = re.compile(r"[A-Za-z_:][\w:]*")
# Labels that make a histogram, not a series.
_INNER = frozenset({"le", "quantile"})
_INFINITE = "+Inf"


class BadPage(ValueError):  # noqa: N818 - reads as the message it is
    """The page is not in Prometheus' format."""


@dataclass(slots=True)
class Found:
    """The series of a page; ``histograms`` has cumulative buckets by the name before ``.p50``."""

    values: dict[str, float] = field(default_factory=dict)
    histograms: Histograms = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    samples: int = 0
    dropped: int = 0

    def add(self, name: str, value: float) -> None:
        """Keep a value. One whose name is taken, or a counter that can't be one, is dropped."""
        counts = samples.is_counter(name)
        if name in self.values or (counts and not (math.isfinite(value) and value >= 0)):
            self.dropped += 1
            return
        # Adding up seconds leaves noise behind the microseconds.
        self.values[name] = round(value, 6) if counts else value


def read(text: str, content_type: str = "", *, wanted: Sequence[str] = ("*",)) -> Found:
    r"""Return the series of a page whose metrics match one of the ``wanted`` patterns.

    >>> read("# TYPE seen counter\nseen_total{chat=\"7\"} 3\n").values
    {'seen.chat_7_total': 3.0}

    Raises:
        BadPage: it is in neither format.
    """
    lines = _wanted_lines(text, wanted)
    found = Found(dropped=max(0, len(lines) - MOST_LINES))
    try:
        for family in _families(lines, "application/openmetrics-text" in content_type):
            _take(family, found)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadPage(f"its page is not in Prometheus' format ({str(error)[:80]}).") from None
    return found


def quantiles(found: Found, before: Mapping[str, Buckets]) -> Histograms:
    """Add quantiles since ``before`` to what was found; return the buckets to compare with next."""
    for name, buckets in found.histograms.items():
        for share in QUANTILES:
            value = quantile(_increase(buckets, before.get(name)), share)
            found.add(f"{name}.p{share * 100:g}{found.ends[name]}", value)
    return found.histograms


def quantile(buckets: Mapping[float, float], share: float) -> float:
    """Return a quantile of cumulative buckets, upper bound -> count; NaN of no observations.

    >>> quantile({1.0: 5.0, 2.0: 10.0, float("inf"): 10.0}, 0.75)
    1.5

    Of what lies above the last finite bound, only that is known: the bound is returned.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return math.nan
    rank = share * buckets[bounds[-1]]
    below, lower = 0.0, min(0.0, bounds[0])
    for bound in bounds:
        count = buckets[bound]
        if count >= rank and count > below:
            if math.isinf(bound):
                return lower if len(bounds) > 1 else math.nan
            return round(lower + (bound - lower) * (rank - below) / (count - below), 6)
        below, lower = count, bound if math.isfinite(bound) else lower
    return lower


def _increase(now: Buckets, before: Buckets | None) -> Buckets:
    """Return what was observed since; nothing at the first look, all of it after a restart."""
    if before is None:
        return {}
    if any(now.get(bound, 0.0) < count for bound, count in before.items()):
        return now
    grown = {bound: count - before.get(bound, 0.0) for bound, count in now.items()}
    # Read while it counts, a histogram may be uneven by an observation or two.
    for low, high in pairwise(sorted(grown)):
        grown[high] = max(grown[high], grown[low])
    return grown


def _families(lines: list[str], openmetrics: bool) -> Iterable[Any]:  # noqa: FBT001 - two formats
    from prometheus_client import parser as plain
    from prometheus_client.openmetrics import parser as strict

    text = "\n".join(lines[:MOST_LINES]) + "\n"
    parse: Any = plain.text_string_to_metric_families
    if openmetrics:
        parse, text = (
            strict.text_string_to_metric_families,
            text.removesuffix("# EOF\n") + "# EOF\n",
        )
    families: Iterable[Any] = parse(text)
    return families


def _take(family: Any, found: Found) -> None:
    # Words, not numbers; the text format has no type for them.
    if family.type in ("info", "stateset") or family.name.endswith("_info"):
        return
    for sample in family.samples:
        if sample.name.endswith("_created"):
            continue
        found.samples += 1
        labels = {key: value for key, value in sample.labels.items() if key not in _INNER}
        if family.type in ("histogram", "summary", "gaugehistogram"):
            _take_part(family.name, sample, labels, found)
            continue
        base, end = folding.unit(family.name)
        if family.type == "counter" or sample.name.endswith("_total"):
            base, end = _without_total(family.name), "_total"
        found.add(folding.fold(base, labels, end), float(sample.value))


def _take_part(metric: str, sample: Any, labels: Mapping[str, str], found: Found) -> None:
    """Take a part of a histogram or summary: a bucket, a quantile, the count or the sum."""
    base, end = folding.unit(metric)
    name = folding.fold(base, labels)
    if sample.name.endswith("_bucket") and "le" in sample.labels:
        bounds = found.histograms.setdefault(name, {})
        found.ends[name] = end
        bounds[math.inf if sample.labels["le"] == _INFINITE else float(sample.labels["le"])] = (
            float(sample.value)
        )
    elif "quantile" in sample.labels:
        share = float(sample.labels["quantile"]) * 100
        found.add(f"{name}.p{f'{share:g}'.replace('.', '_')}{end}", float(sample.value))
    elif sample.name.endswith("count"):
        found.add(f"{name}.count", float(sample.value))
    elif sample.name.endswith("sum"):
        found.add(f"{name}.sum{'_s' if end == '_s' else end + '_total'}", float(sample.value))


def _without_total(name: str) -> str:
    return name.removesuffix("_total")


def _wanted_lines(text: str, wanted: Sequence[str]) -> list[str]:
    lines = text.split("\n")
    if "*" in wanted:
        return [line for line in lines if line]
    matches = _matcher(tuple(wanted))
    return [line for line in lines if line and _is_wanted(line, matches)]


def _is_wanted(line: str, matches: re.Pattern[str]) -> bool:
    if line.startswith("#"):
        _, _, rest = line.partition(" ")
        word, _, rest = rest.partition(" ")
        name = rest.split(" ", 1)[0]
        return word == "EOF" or any(
            matches.fullmatch(each) for each in (*_names(name), *(name + s for s in _SUFFIXES))
        )
    found = _NAME.match(line)
    return found is not None and any(matches.fullmatch(name) for name in _names(found[0]))


def _names(name: str) -> Iterator[str]:
    yield name
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            yield name.removesuffix(suffix)


@functools.lru_cache(maxsize=64)
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))
