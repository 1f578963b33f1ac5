"""The statements of a database and what they cost: of late, and before.

The server's sums run on, and so do those that bots report; each look takes what was added since the
look before, and learns from it what is normal for each shape of statement (the baseline). Both are
kept in Redis between looks.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider.database import budget, reported, statements, top
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa
    from redis import Redis

    from outrider.database.top import Baseline, Cost

# pg_stat_statements keeps 5,000 by default; what lies behind the first thousand costs nothing.
MOST = 1000
MEMORY_TTL_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Workload:
    """What statements cost ``over_s`` seconds, None being as long as the server remembers."""

    costs: tuple[Cost, ...]
    baseline: Mapping[str, Baseline]
    over_s: float | None = None
    note: str = ""


def look(
    engine: sa.Engine,
    redis: Redis | None = None,
    *,
    now_s: float = 0.0,
    learn: bool = False,
) -> Workload:
    """Return what statements cost since the last look that learnt; all that is known without one.

    What bots measured comes from Redis, and needs no ``pg_stat_statements``. With ``learn`` this
    look becomes the last.
    """
    slow = statements.slowest(engine, most=MOST, longest=None)
    now = top.merged((), slow.statements)
    memory = _recalled(redis)
    earlier = [top.Cost(**cost) for cost in memory.get("sums", ())]
    baseline = {name: top.Baseline(**each) for name, each in memory.get("baseline", {}).items()}
    over_s = now_s - memory["at_s"] if memory else None
    of_bots: list[Cost] = []
    if redis is not None:
        server = budget.server_of(engine.url)
        of_bots = reported.look(redis, server, learn=learn, now_s=now_s)
    costs = top.merged(of_bots, top.since(earlier, now))
    if learn and redis is not None:
        known = [cost for cost in costs if cost.fingerprint_id != reported.OTHER]
        learnt = top.learnt(baseline, known)
        _remember(redis, now, learnt, now_s)
    return Workload(tuple(costs), baseline, over_s, slow.note)


def _recalled(redis: Redis | None) -> dict[str, Any]:
    kept = redis.get(keys.tuning("statements")) if redis is not None else None
    found: dict[str, Any] = json.loads(kept) if kept else {}
    return found


def _remember(
    redis: Redis, sums: list[Cost], baseline: Mapping[str, Baseline], now_s: float
) -> None:
    # The text is not needed again: the server has it.
    memory = {
        "at_s": now_s,
        "sums": [dataclasses.asdict(dataclasses.replace(cost, text="")) for cost in sums],
        "baseline": {name: dataclasses.asdict(each) for name, each in baseline.items()},
    }
    redis.set(keys.tuning("statements"), json.dumps(memory), ex=MEMORY_TTL_S)
