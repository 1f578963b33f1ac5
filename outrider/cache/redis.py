"""The tier that processes share: one short try, and none at all while the server is away.

redis-py's own defaults make a call wait 3.5 s for a refused connection and 57 s for a frozen
server. Here a call has 40 ms and no second try; after a failure a breaker keeps every call away.
What could not be written or deleted meanwhile is owed: those keys are deleted with the first call
that gets through, so that an invalidated value does not come back with the server.
"""

from __future__ import annotations

import enum
import logging
import threading
from typing import TYPE_CHECKING, Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from outrider.cache import keys
from outrider.cache.breaker import Breaker
from outrider.errors import RedisRefused
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A first call to a frozen server is to cost at most 50 ms; a healthy one answers in under 1 ms.
TIMEOUT_S = 0.04
MOST_OWED = 10_000

logger = logging.getLogger(__name__)


class Away(enum.Enum):
    """An answer of its own: a server that is away must not look like a miss."""

    AWAY = "away"


AWAY = Away.AWAY


class RedisTier:
    """Keeps messages in Redis or Valkey. Safe to use from threads; raises nothing once built."""

    def __init__(
        self, url: str, *, breaker: Breaker | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.breaker = breaker or Breaker()
        self.refused = 0
        self.forgotten = 0  # keys that could not even be owed; stale until their time to live ends
        self._shown = connection.without_password(url)
        self._lock = threading.Lock()
        self._owed: dict[str, None] = {}
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise RedisRefused(
                f"OUTRIDER_REDIS_URL = {self._shown!r} is no Redis address ({error}); "
                "write it like redis://host:6379/0, or unset it to cache in memory only."
            ) from None

    def get(self, namespace: str, key: str) -> bytes | Literal[Away.AWAY] | None:
        """Return what is kept, None when nothing is, or AWAY when the server did not say."""
        name = keys.value(namespace, key)
        answer: bytes | Literal[Away.AWAY] | None = self._call(lambda client: client.get(name))
        return answer

    def set(self, namespace: str, key: str, message: bytes, ttl_s: float) -> bool:
        """Keep a message. Return False when it was not sent; what stood there is then owed."""
        name = keys.value(namespace, key)
        milliseconds = max(1, round(ttl_s * 1000))
        return self._change(name, lambda client: client.set(name, message, px=milliseconds))

    def delete(self, namespace: str, key: str) -> bool:
        """Forget a key. Return False when that was not sent; it is then owed."""
        name = keys.value(namespace, key)
        return self._change(name, lambda client: client.delete(name))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _change(self, name: str, command: Callable[[redis.Redis], Any]) -> bool:
        if self._call(command) is not AWAY:
            return True
        self._owe([name])
        return False

    def _call(self, command: Callable[[redis.Redis], Any]) -> Any:
        if not self.breaker.allows():
            return AWAY
        try:
            self._settle()
            answer = command(self._client)
        except redis.ResponseError as error:
            # It answers, and says no: out of memory, read-only, not permitted. Not a reason to
            # stop asking for what it can still do.
            self._answered()
            self.refused += 1
            if self.refused == 1:
                logger.warning("cache: Redis at %s refuses a command: %s", self._shown, error)
            return AWAY
        except redis.RedisError as error:
            if self.breaker.failed():
                logger.warning(
                    "cache: Redis at %s does not answer (%s); falling back to memory",
                    self._shown,
                    error,
                )
            return AWAY
        except BaseException:
            self.breaker.failed()  # or the turn of a probe would never be given back
            raise
        self._answered()
        return answer

    def _answered(self) -> None:
        if self.breaker.succeeded():
            logger.info("cache: Redis at %s answers again", self._shown)

    def _settle(self) -> None:
        """Delete what is owed, before anything stale is read."""
        if not self._owed:
            return
        with self._lock:
            owed, self._owed = self._owed, {}
        try:
            if owed:
                self._client.delete(*owed)
        except BaseException:
            self._owe(owed)
            raise

    def _owe(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                if len(self._owed) < MOST_OWED:
                    self._owed[name] = None
                else:
                    self.forgotten += 1
