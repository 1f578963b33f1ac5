"""What the caches of a fleet did of late, by namespace, added up from the series of its bots.

Counters are added by their growth, so that a bot that began anew takes nothing away.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from outrider.samples import Window

RECENT_S = 900.0
_SERIES = re.compile(r"bot\.[^.]+\.cache\.(?P<namespace>.+)\.(?P<what>[a-z_]+)")
_COUNTS = (
    "hits", "hits_memory", "hits_redis", "warmed_hits", "stale_hits", "misses", "waits", "loads",
    "load_seconds", "errors", "fallbacks", "fenced", "refreshes", "evicted",
)  # fmt: skip
# Of memories that differ the ratio that is told is the mean; entries and outages are added.
_ADDED = ("entries", "away")
_MEANS = ("doubled_hit_ratio", "halved_hit_ratio")


def by_namespace(windows: Iterable[Window]) -> dict[str, dict[str, Any]]:
    """Return what grew within the windows, and gauges at their ends, for each namespace.

    ``hit_ratio`` is None without a call; ``load_s`` is the mean of a load, None without one.
    """
    found: dict[str, dict[str, Any]] = {}
    means: dict[tuple[str, str], list[float]] = {}
    for window in windows:
        for place, series in enumerate(window.names):
            named = _SERIES.fullmatch(series) if ".cache." in series else None
            if named is None:
                continue
            row = found.setdefault(named["namespace"], dict.fromkeys((*_COUNTS, *_ADDED), 0.0))
            what = named["what"].removesuffix("_total")
            column = window.values[:, place]
            if what in _COUNTS:
                row[what] += _growth(column)
            elif what in _ADDED and np.isfinite(column[-1]):
                row[what] += float(column[-1])
            elif what in _MEANS and np.isfinite(column[-1]):
                means.setdefault((named["namespace"], what), []).append(float(column[-1]))
    for namespace, row in found.items():
        calls = row["hits"] + row["misses"] + row["waits"]
        row["calls"] = calls
        row["hit_ratio"] = row["hits"] / calls if calls else None
        row["load_s"] = row.pop("load_seconds") / row["loads"] if row["loads"] else None
        for what in _MEANS:
            told = means.get((namespace, what))
            row[what] = sum(told) / len(told) if told else None
    return found


def _growth(column: NDArray[np.float64]) -> float:
    known = column[np.isfinite(column)]
    steps = np.diff(known)
    return float(np.where(steps < 0, known[1:], steps).sum()) if len(steps) else 0.0
