"""What is written down of visitors: logins, refusals, and what they did.

Stored under ``or:web:access`` (a list, newest first), the refusals apart under ``or:web:refused``,
so that a flood of those pushes out no login::

    {"at_s": 1795454660.0, "what": "restart", "who": "ann", "role": "operator",
     "address": "192.0.2.7", "about": "canary on alpha", "why": "stuck", "result": "ok: ..."}

Orders to a supervisor stand in its own record as well (``outrider bots actions``), and words on
alerts in theirs (``outrider alerts log --comments``). Where Redis is away, the process' log has it.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread
import redis

from outrider.store import keys

if TYPE_CHECKING:
    from outrider.clock import Clock

logger = logging.getLogger(__name__)

KEPT = 2_000
LONGEST = 500
# The same refusal of the same address is written once in this time; the next says how many.
COLLAPSED_S = 60.0
_MOST_REMEMBERED = 1_000


class Record:
    """Keeps entries in Redis. Nothing here raises for want of it."""

    def __init__(self, client: redis.Redis, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._refused: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._threads = anyio.CapacityLimiter(2)

    async def keep(
        self,
        what: str,
        *,
        who: str,
        address: str,
        result: str,
        role: str = "",
        about: str = "",
        why: str = "",
    ) -> None:
        """Write down what somebody did."""
        entry = self._entry(
            what=what, who=who, role=role, address=address, about=about, why=why, result=result
        )
        await self._written(keys.ACCESS, entry)

    async def refused(self, what: str, *, who: str, address: str, about: str, result: str) -> None:
        """Write down that somebody was turned away; the same again and again becomes a number."""
        at_s, times = self._refused.pop((what, address), (-COLLAPSED_S, 0))
        now_s = self._clock.monotonic()
        is_new = now_s - at_s >= COLLAPSED_S
        self._refused[what, address] = (now_s, 0) if is_new else (at_s, times + 1)
        while len(self._refused) > _MOST_REMEMBERED:
            self._refused.popitem(last=False)
        if not is_new:
            return
        entry = self._entry(what=what, who=who, address=address, about=about, result=result)
        await self._written(keys.REFUSED, entry | ({"more_before": times} if times else {}))

    def _entry(self, **words: str) -> dict[str, Any]:
        at_s = round(self._clock.now(), 3)
        return {"at_s": at_s} | {name: text[:LONGEST] for name, text in words.items()}

    async def _written(self, key: str, entry: dict[str, Any]) -> None:
        def write() -> None:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.lpush(key, json.dumps(entry))
                pipe.ltrim(key, 0, KEPT - 1)
                pipe.execute()

        try:
            await anyio.to_thread.run_sync(write, limiter=self._threads)
        except (redis.RedisError, OSError):
            logger.warning("not written down, Redis is away: %s", json.dumps(entry))


def read(client: redis.Redis, most: int = 100, *, refusals: bool = False) -> list[dict[str, Any]]:
    """Return the newest entries, newest first."""
    key = keys.REFUSED if refusals else keys.ACCESS
    return [json.loads(text) for text in cast("list[bytes]", client.lrange(key, 0, most - 1))]
