"""What the dashboard's database page shows, as plain data: pools, waiting, blocked, advice.

Pools and the plan are Redis' word, waiting the bots' own, statements and advice those of the newest
report; only who blocks whom is asked from the server, and a server that is away is a state.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import advising, budget, fleet
from outrider.database import server as servers
from outrider.errors import OutriderError
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from outrider.samples import Row
    from outrider.settings import Settings

_WAITING = re.compile(r"bot\.(?P<bot>[^.]+)\.db\.pool\.(?P<what>waiting|used|size|timeouts_total)$")
_LONGEST_TEXT = 300
_BLOCKED = sa.text("""
SELECT waiter.pid, waiter.application_name AS who, left(waiter.query, :longest) AS statement,
  extract(epoch FROM clock_timestamp() - waiter.state_change)::float AS for_s,
  holder.pid AS by_pid, holder.application_name AS by_who, holder.state AS by_state,
  left(holder.query, :longest) AS by_statement
FROM pg_stat_activity waiter
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiter.pid)) AS blocker (pid)
JOIN pg_stat_activity holder ON holder.pid = blocker.pid
WHERE waiter.wait_event_type = 'Lock' ORDER BY for_s DESC
""")


def build(settings: Settings, client: redis.Redis, rows: Iterable[Row]) -> dict[str, Any]:
    """Return the page's data. ``rows`` are each host's newest. Blocks for some seconds at most.

    Raises:
        redis.RedisError: Redis is away.
    """
    raw = client.get(keys.tuning("database"))
    report: dict[str, Any] = json.loads(raw) if isinstance(raw, bytes | str) else {}
    blocked, error = _blocked(settings)
    return {
        **_pools(settings, client),
        "waiting": _waiting(rows),
        "blocked": blocked,
        "error": error,
        "slow_statements": report.get("slow_statements", []),
        "warnings": report.get("warnings", []),
        "advice": report.get("advice"),
        "queries": report.get("queries"),
        "reported_at_s": report.get("at_s"),
    }


def _pools(settings: Settings, client: redis.Redis) -> dict[str, Any]:
    """Return who has how many connections, and the wall that they stand against."""
    server = fleet.server_name(settings)
    if server is None:
        return {"server": None, "wall": None, "pools": []}
    made = budget.Budget(client, server)
    state = made.state()
    return {
        "server": server,
        "wall": state.get("wall"),
        "pools": [
            {"name": each.name, "open": each.open, "cap": each.cap, "floor": each.floor,
             "share": each.share, "lost": each.lost}
            for each in sorted(made.holders(), key=lambda each: each.name)
        ],
    }  # fmt: skip


def _waiting(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for series, value in row.values.items():
            if match := _WAITING.match(series):
                found.setdefault(match["bot"], {})[match["what"]] = value
    return found


def _blocked(settings: Settings) -> tuple[list[dict[str, Any]], str | None]:
    """Return who waits for whom, and why nobody could say."""
    if fleet.server_name(settings) is None:
        return [], None
    try:
        with advising.engine_of(settings.database).connect() as connection:
            found = connection.execute(_BLOCKED, {"longest": _LONGEST_TEXT}).mappings()
            return [dict(row) for row in found], None
    except OutriderError as error:
        return [], str(error)
    except sa.exc.SQLAlchemyError as error:
        return [], servers.first_line(error)
