"""Every built-in series: what it is, in which unit, and what it tells the operator.

``docs/metrics.md``, ``/metrics`` and the dashboard's explorer speak from this one table, and a test
fails when a collector yields a series that is not in it. The table is in
:mod:`outrider.metrics.series`; here a series finds its line.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from outrider.metrics.metric import PLACE, Metric
from outrider.metrics.series import METRICS

TIMING_PARTS = ("count", "sum_s", "max_s", "p50_s", "p95_s", "p99_s")
_PART = r"\.(?P<part__>" + "|".join(TIMING_PARTS) + ")"
# These names have no dots; those of queues, caches, mounts and methods may have.
_NO_DOTS = frozenset(
    {
        "bot",
        "host",
        "core",
        "app",
        "exception",
        "resource",
        "target",
        "server",
        "kind",
        "collector",
        "what",
        "slo",
        "who",
        "span",
    }
)
# Series are looked up by every scrape; a fleet of this many is known by heart.
_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Found:
    """A series, understood. ``part`` is empty unless the metric is a timing."""

    metric: Metric
    labels: tuple[tuple[str, str], ...]
    part: str


@functools.lru_cache(maxsize=_REMEMBERED)
def find(series: str) -> Found | None:
    """Return what a series is, or None when no line of the table fits.

    >>> found = find("bot.canary.cache.profiles.hits_total")
    >>> found.metric.kind, found.labels
    ('counter', (('bot', 'canary'), ('namespace', 'profiles')))
    >>> find("bot.canary.handle_update.p95_s").part, find("nonsense")
    ('p95_s', None)
    """
    for regex, metric in _by_area().get(series.partition(".")[0], ()):
        if fits := regex.fullmatch(series):
            named = fits.groupdict()
            part = named.pop("part__", "")
            return Found(metric, tuple(named.items()), part)
    return None


@functools.cache
def _by_area() -> dict[str, list[tuple[re.Pattern[str], Metric]]]:
    areas: dict[str, list[tuple[re.Pattern[str], Metric]]] = {}
    for metric in METRICS:
        areas.setdefault(metric.pattern.partition(".")[0], []).append((_regex(metric), metric))
    return areas


def _regex(metric: Metric) -> re.Pattern[str]:
    pieces = PLACE.split(metric.pattern)  # literal, name, literal, name, ..., literal
    text = re.escape(pieces[0])
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        text += f"(?P<{name}>{'[^.]+' if name in _NO_DOTS else '.+?'})" + re.escape(literal)
    return re.compile(text + (_PART if metric.kind == "timing" else ""), re.DOTALL)
