"""The caches of a host's bots, added up by namespace: how often they hit in this tick.

Each bot tells its own totals since its start; their hit ratio is of its whole life, in which the
last tick drowns. Here increases are added, so that a bot that begins anew takes nothing away.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_NAMESPACES = 100
_TOTAL = re.compile(
    r"bot\.[^.]+\.cache\.(?P<namespace>.+)\.(?P<what>hits|hits_memory|hits_redis|warmed_hits|stale_hits"
    r"|misses|waits|loads|errors|fallbacks)_total"
)
_CALLS = ("hits", "misses", "waits")


class CacheCollector:
    """Collects ``cache.NAMESPACE.*`` from the series of bots. Keeps their last totals."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._totals: dict[str, dict[str, float]] = {}

    def collect(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return totals of each namespace, and the share of calls that hit since the last call.

        ``hit_ratio`` is NaN when there was no call, at the first look also.
        """
        now: dict[str, float] = {}
        grown: dict[str, dict[str, float]] = {name: {} for name in self._totals}
        for series, value in values.items():
            found = _TOTAL.fullmatch(series) if ".cache." in series else None
            if found is None:
                continue
            if found["namespace"] not in grown and len(grown) >= MOST_NAMESPACES:
                continue
            now[series] = value
            of = grown.setdefault(found["namespace"], {})
            of[found["what"]] = of.get(found["what"], 0.0) + self._increase(series, value)
        is_first = not self._before
        self._before = now
        row: dict[str, float] = {}
        for namespace, increases in grown.items():
            totals = self._totals.setdefault(namespace, {})
            for what, more in increases.items():
                totals[what] = totals.get(what, 0.0) + more
            row |= {f"cache.{namespace}.{what}_total": total for what, total in totals.items()}
            calls = 0.0 if is_first else sum(increases.get(what, 0.0) for what in _CALLS)
            hits = increases.get("hits", 0.0)
            row[f"cache.{namespace}.hit_ratio"] = round(hits / calls, 4) if calls else math.nan
        return row

    def _increase(self, series: str, value: float) -> float:
        before = self._before.get(series, 0.0)
        return value - before if value >= before else value
