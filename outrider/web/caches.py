"""What the fleet's caches did within the half hour that a page shows, by namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.cache import figures, report
from outrider.web import records

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from outrider.web.recent import Recent

MOST = 50


def of(client: redis.Redis, hosts: Iterable[Recent]) -> list[dict[str, Any]]:
    """Return a row for each namespace that was called, those with most calls first.

    Raises redis.RedisError when the server does not answer.
    """
    found = figures.by_namespace(rows.window for rows in hosts)
    busiest = sorted(
        (name for name, row in found.items() if row["calls"]),
        key=lambda name: (-found[name]["calls"], name),
    )
    return [
        {
            "namespace": records.clean(name),
            **{
                what: found[name][what]
                for what in (
                    "calls", "hits", "hits_memory", "hits_redis", "stale_hits", "warmed_hits",
                    "misses", "load_s", "hit_ratio", "away",
                )
            },
            "ahead": report.ahead(client, name),
        }
        for name in busiest[:MOST]
    ]  # fmt: skip
