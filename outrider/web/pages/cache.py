"""Whether the caches pay: hits by tier, what warming did, the keys that are used most, advice."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from outrider.cache import advice, figures, report
from outrider.errors import BadArgument
from outrider.web import records
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source

MOST_KEYS = 30


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``outrider cache stats``, ``advise`` and ``top`` show.

    The keys are those of ``namespace``, or of the busiest one.

    Raises:
        BadArgument: no such namespace.
    """
    client, now_s, parts = source.client, source.clock.now(), Parts()
    windows = [
        source.store.window(host, now_s - figures.RECENT_S, now_s + 1)
        for host in source.store.hosts()
    ]
    rows = parts.many("the caches", report.full, client, windows, now_s=now_s)
    rows.sort(key=lambda row: -((row["recent"] or {}).get("calls") or 0))
    names = [row["namespace"] for row in rows]
    chosen = asked.get("namespace") or (names[0] if names else "")
    if chosen and chosen not in names:
        known = ", ".join(names[:20]) or "none"
        raise BadArgument(
            f"no cache {records.clean(chosen)!r} was used within a day; in use: {known}."
        )
    return {
        "caches": rows,
        "advice": [asdict(each) for each in parts.many("advice", advice.of, rows)],
        "namespace": chosen,
        "top": parts.many("its keys", report.top, client, chosen, MOST_KEYS) if chosen else [],
        "notices": parts.notices,
    }
