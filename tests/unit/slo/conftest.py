from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.settings import Settings
from outrider.store import connection, tiers
from outrider.store.redis import RedisStore
from outrider.store.sketches import SketchStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.store.tiers import Tiers

KEPT = Settings(host="alpha").retention


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as opened:
        yield opened


@pytest.fixture
def stores(valkey_url: str, client: redis.Redis) -> Tiers:
    raw = RedisStore(valkey_url, retention_s=KEPT.raw, client=client)
    return tiers.of_redis(raw, KEPT, url=valkey_url, client=client)


@pytest.fixture
def sketches(client: redis.Redis) -> SketchStore:
    return SketchStore(client, retention=KEPT)
