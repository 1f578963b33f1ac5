"""What every task needs, opened once a process: settings, a Redis client, the store."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery import current_app

from outrider import settings as settings_module
from outrider.clock import SYSTEM, Clock, tick_at
from outrider.store import address, connection, tiers
from outrider.store.redis import RedisStore
from outrider.store.sketches import SketchStore

if TYPE_CHECKING:
    import redis

    from outrider.settings import Settings
    from outrider.store.tiers import Tiers


@dataclass(frozen=True)
class Context:
    """The outside world of a task; tests pass their own with :func:`use`."""

    settings: Settings
    redis_url: str
    redis: redis.Redis
    store: RedisStore
    tiers: Tiers
    sketches: SketchStore
    clock: Clock = SYSTEM

    def tick(self) -> int:
        """Return the tick that it is now."""
        return tick_at(self.clock.now(), self.store.interval_s)


def build(settings: Settings, url: str, clock: Clock = SYSTEM) -> Context:
    """Return a context over one Redis connection pool."""
    client = connection.connect(url)
    kept = settings.retention
    store = RedisStore(url, interval_s=settings.interval_s, retention_s=kept.raw, client=client)
    stores = tiers.of_redis(store, kept, url=url, client=client)
    sketches = SketchStore(client, interval_s=settings.interval_s, retention=kept)
    return Context(settings, url, client, store, stores, sketches, clock)


@functools.cache
def current() -> Context:
    """Return this process's context.

    In an application of the user's own, its broker serves when no other Redis is named.
    """
    settings = settings_module.load()
    broker = str(current_app.conf.broker_url or "")
    if settings.redis_url is None and broker.startswith(("redis://", "rediss://")):
        return build(settings, broker)
    return build(settings, address.redis_url(settings))
