"""What the dashboard shows of the analysis of a host: limits, what is off, and pictures of it.

Pictures go out as shapes, not as markup: the page builds its nodes from them one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from outrider.analysis import archive, plot, sections
from outrider.errors import BadArgument
from outrider.units import parse_duration
from outrider.web import records

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from outrider.store.base import SeriesStore

LONGEST_S = 7 * 86_400.0
_LONGEST_NAME = 300
_SHOWN = ("Off its normal", "Changes", "Limits", "Why", "What to do")


def shown(
    client: redis.Redis, store: SeriesStore, asked: Mapping[str, str], now_s: float
) -> dict[str, Any]:
    """Return verdict, tables and pictures of ``host`` over ``since``, such as 6h.

    Reads the rows of that time, which may take a second. ``pictures`` is a list of title, series
    and shapes; all texts are cleaned.

    A host without a report has neither tables nor pictures.

    Raises:
        BadArgument: the host's name is too long, or there is no such time.
    """
    host, since = asked.get("host", ""), asked.get("since") or "3h"
    if len(host) > _LONGEST_NAME:
        raise BadArgument(f"host has {len(host)} letters; {_LONGEST_NAME} are allowed.")
    try:
        span_s = parse_duration(since[:20])
    except ValueError:
        raise BadArgument(
            f"since = {records.clean(since)[:40]!r} must be like 30m or 6h."
        ) from None
    if not 0 < span_s <= LONGEST_S:
        raise BadArgument("since must be more than nought, and at most seven days.")
    since_s = now_s - span_s
    found = archive.find(client, host, since_s=since_s)
    if found is None:  # a young host: no mistake of who asks
        return {"host": records.clean(host), "state": "unknown", "at_s": None, "tables": [],
                "pictures": []}  # fmt: skip
    drawn = archive.drawn(client, store, found, since_s=since_s)
    tables = [each for each in sections.sections(found, now_s) if each.title in _SHOWN]
    return {
        "host": records.clean(host),
        "state": found["state"],
        "at_s": found["at_s"],
        "since_s": found.get("since_s"),
        "verdict": records.clean(str(found["verdict"])),
        "tables": [
            {
                "title": table.title,
                "columns": table.columns,
                "rows": [[records.clean(cell) for cell in row] for row in table.rows],
            }
            for table in tables
        ],
        "width": plot.WIDTH,
        "height": plot.HEIGHT,
        "pictures": [
            {
                "series": records.clean(picture.series),
                "title": records.clean(picture.title),
                "shapes": [_shape(shape) for shape in plot.draw(picture)],
            }
            for picture in drawn
        ],
    }


def _shape(shape: plot.Shape) -> dict[str, Any]:
    found = msgspec.structs.asdict(shape)
    return found | {"text": records.clean(shape.text), "kind": records.clean(shape.kind)}
