"""What was found on a host over the last week, kept so that a finding told twice is kept once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

KEPT_S = 7 * 86_400.0
MOST = 2000


def keep(client: redis.Redis, host: str, found: Iterable[dict[str, Any]], *, now_s: float) -> None:
    """Keep findings, each with its ``at_s``; forget those of more than a week ago. Blocks."""
    members = {json.dumps(each, sort_keys=True): float(each["at_s"]) for each in found}
    if not members:
        return
    key = keys.findings(host)
    with client.pipeline(transaction=False) as pipe:
        pipe.zadd(key, members)
        pipe.zremrangebyscore(key, "-inf", now_s - KEPT_S)
        pipe.zremrangebyrank(key, 0, -MOST - 1)
        pipe.expire(key, int(KEPT_S))
        pipe.execute()


def read(client: redis.Redis, host: str, since_s: float) -> list[dict[str, Any]]:
    """Return what was found since a time, the newest first; what can't be read is left out."""
    raws = cast("list[bytes]", client.zrevrangebyscore(keys.findings(host), "+inf", since_s))
    found = []
    for raw in raws:
        try:
            entry = json.loads(raw)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
