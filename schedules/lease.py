"""The right to schedule, held by one beat at a time.

A lease in Redis alone is not safe: its holder may be stopped, lose it, and go on. So every claim of
a tick is checked against the lease *in Redis*, atomically with the tick's number, and each new
holder draws a higher fencing token that goes out with what it sends (Kleppmann, "How to do
distributed locking", 2016).
"""

from __future__ import annotations

import os
import socket
import uuid
from importlib import resources
from typing import TYPE_CHECKING, cast

from outrider.store import keys

if TYPE_CHECKING:
    import redis

# The successor of a dead beat waits at most this long, plus one look a second.
TTL_S = 5.0


class Lease:
    """One beat's claim on the schedule. Methods raise redis.RedisError when Redis is away."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        ttl_s: float = TTL_S,
        holder: str | None = None,
        key: str = keys.LEASE,
        token_key: str = keys.TOKEN,
    ) -> None:
        self.holder = holder or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.token = 0
        self._ttl_ms = int(ttl_s * 1000)
        self._key, self._token_key = key, token_key
        scripts = resources.files("outrider.schedules")
        self._take = client.register_script(scripts.joinpath("lease.lua").read_text("utf-8"))
        self._claim = client.register_script(scripts.joinpath("claim.lua").read_text("utf-8"))
        self._client = client

    def hold(self) -> bool:
        """Take or renew the lease. Tell whether it is ours; ``token`` is set then."""
        answer = self._take(keys=[self._key, self._token_key], args=[self.holder, self._ttl_ms])
        self.token = int(cast("int", answer))
        return self.token > 0

    def claim(self, entry: str, tick: int, now_s: float, *, patient: bool = False) -> bool:
        """Claim a tick. False: it was sent, or the lease is no longer ours. Gaps are recorded.

        The first tick ever of a ``patient`` entry is passed over.
        """
        answer = self._claim(
            keys=[self._key, keys.TICKS, keys.MISSED],
            args=[self.holder, entry, tick, now_s, int(patient)],
        )
        return int(cast("int", answer)) == 1

    def release(self) -> None:
        """Give the lease up, so that a successor need not wait."""
        if self._client.get(self._key) == self.holder.encode():
            self._client.delete(self._key)
