"""Error budgets on the first screen: what is left of each and how fast it burns, from one row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from outrider.web import records

if TYPE_CHECKING:
    from outrider.web.recent import Recent

MOST = 12
# An objective's own budget; those of single bots have ``.by.`` in between.
_LEFT = re.compile(r"slo\.(?P<slug>[^.]+)\.left_ratio")


def of(rows: Recent) -> list[dict[str, Any]]:
    """Return the budgets, those that burn fastest first, by the last hour."""
    found: list[dict[str, Any]] = []
    for series in rows.names():
        if match := _LEFT.fullmatch(series):
            unit = f"slo.{match['slug']}"
            found.append(
                {
                    "slug": match["slug"],
                    "name": records.clean(match["slug"].replace("-", " ")),
                    "left_ratio": rows.now(series),
                    "burn_1h": rows.now(f"{unit}.burn_ratio.1h"),
                    "burn_6h": rows.now(f"{unit}.burn_ratio.6h"),
                    "page": (rows.now(f"{unit}.page") or 0) > 0,
                    "ticket": (rows.now(f"{unit}.ticket") or 0) > 0,
                }
            )
    found.sort(key=lambda budget: (-(budget["burn_1h"] or 0), budget["slug"]))
    return found[:MOST]
