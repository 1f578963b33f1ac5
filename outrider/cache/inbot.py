"""Loads ahead inside the bot, for loaders that need its session, its event loop or its secrets.

The plan leaves in Redis what such a loader has to load when; a thread of the bot takes what is due,
each key by one process only, and runs the loader: in the event loop in which the bot itself uses
it, when it is asynchronous. Nothing here raises, and with Redis away nothing is loaded ahead.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, cast

import redis

from outrider.cache import ahead, keys, loaders, warming
from outrider.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from outrider.cache.patterns import NamespaceUse
    from outrider.clock import Clock

EVERY_S = 0.5
MOST_AT_ONCE = 20
_LATE_SHARE = 0.5  # of the time to live, after which a load that was due is left

logger = logging.getLogger(__name__)


class InBot:
    """Does what is due for the namespaces of this process."""

    def __init__(
        self,
        client: redis.Redis,
        uses: Callable[[], Sequence[NamespaceUse]],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        self.warmed = 0
        self.failed = 0
        self._client = client
        self._uses = uses
        self._clock = clock
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin in a thread of its own."""
        threading.Thread(target=self._run, name="outrider-warm", daemon=True).start()

    def stop(self) -> None:
        """End after what is being loaded."""
        self._stop.set()

    def step(self) -> int:
        """Load what is due now. Return how many keys were."""
        uses = list(self._uses())
        if not uses:
            return 0
        now_s = self._clock.now()
        with self._client.pipeline(transaction=False) as pipe:
            for use in uses:
                late_s = now_s - use.ttl_s * _LATE_SHARE
                pipe.zremrangebyscore(keys.due(use.namespace), "-inf", f"({late_s}")
                pipe.zrangebyscore(keys.due(use.namespace), "-inf", now_s, 0, MOST_AT_ONCE)
            found = pipe.execute()[1::2]
        done = 0
        for use, due in zip(uses, cast("list[list[bytes]]", found), strict=True):
            for key in due:
                # Whoever takes it out loads it.
                if self._client.zrem(keys.due(use.namespace), key):
                    done += self._load(use, key.decode())
        return done

    def _load(self, use: NamespaceUse, key: str) -> bool:
        try:
            return load(self._client, use, key, clock=self._clock)
        except ahead.Fenced:
            return False
        except redis.RedisError:
            raise
        except Exception as error:  # noqa: BLE001 - a loader is the user's code
            self.failed += 1
            logger.warning("cache: warming %s %s failed: %s", use.namespace, key, error)
            return False

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self.warmed += self.step()
            except redis.RedisError:
                continue  # the cache itself says that Redis is away
            except Exception:
                logger.exception("cache: loads ahead failed")


def load(
    client: redis.Redis,
    use: NamespaceUse,
    key: str,
    *,
    clock: Clock = SYSTEM,
) -> bool:
    """Load one key by this process's own loader. Return False when its value is fresh.

    Raises:
        BadArgument: it is not registered here.
        Fenced: another process loads it, or it was invalidated meanwhile.
        Exception: whatever the loader raises.
    """
    known = warming.recorded(client, use.namespace, key)
    if known.args is None:
        return False
    loader = loaders.registered(known.loader, use.namespace, version=use.version)
    load_s = warming.load(
        client, loader, key, use=known, clock=clock, loop=use.loop, timeout_s=known.ttl_s
    )
    return load_s is not None
