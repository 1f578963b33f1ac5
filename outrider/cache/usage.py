"""What Redis knows of the use of caches: a record a key, a tally of loads a namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider.cache import keys
from outrider.cache.rhythm import Rhythm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis

    from outrider.cache.patterns import NamespaceUse

MOST_KEYS = 1000  # kept for one namespace: those used last
MOST_LOGGED = 500  # uses in one entry of the log
MOST_ENTRIES = 1000  # about a quarter of an hour of one busy process
USE_TTL_S = 86_400
TALLY_TTL_S = 2 * keys.HOUR_S + 60


class Use(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is known of one key. ``args`` is None when the call can't be repeated elsewhere."""

    loader: str = ""
    version: str = ""
    bot: str = ""  # that used it last, where a loader needs the bot's own session
    args: list[Any] | None = None
    kwargs: dict[str, Any] = {}
    ttl_s: float = 0.0
    expires_s: float = 0.0
    last_use_s: float = 0.0
    uses: int = 0
    visits: int = 0
    visited_s: float = 0.0
    gap_s: float = 0.0
    jitter_s: float = 0.0

    @property
    def rhythm(self) -> Rhythm:
        """The visits so far, as a rhythm."""
        return Rhythm(self.visits, self.visited_s, self.gap_s, self.jitter_s)

    @property
    def is_repeatable(self) -> bool:
        """Whether another process could make the same call."""
        return bool(self.loader) and self.args is not None


@dataclass(frozen=True, slots=True)
class Tally:
    """Loads of a namespace over this hour and the one before."""

    loads: int = 0
    warmed: int = 0
    warmed_hits: int = 0


def decode(message: bytes | None) -> Use | None:
    """Return a stored use, or None when there is none or it can't be read."""
    if message is None:
        return None
    try:
        return msgspec.msgpack.decode(message, type=Use)
    except msgspec.MsgspecError:
        return None


def count(pipe: Any, namespace: str, now_s: float, **numbers: int) -> None:
    """Queue additions to the tally of this hour."""
    name = keys.tally(namespace, now_s)
    for field, number in numbers.items():
        if number:
            pipe.hincrby(name, field, number)
    pipe.expire(name, TALLY_TTL_S)


def log(pipe: Any, use: NamespaceUse, uses: list[tuple[str, float]]) -> None:
    """Queue the uses of some keys for the log that warming is planned from."""
    if not uses:
        return
    name = keys.log(use.namespace)
    message = {
        "uses": msgspec.msgpack.encode(uses[:MOST_LOGGED]),
        "ttl_s": use.ttl_s,
        "loader": use.loader,
    }
    pipe.xadd(name, message, maxlen=MOST_ENTRIES, approximate=True)
    pipe.expire(name, USE_TTL_S)


def namespaces(client: redis.Redis, now_s: float) -> list[str]:
    """Return the namespaces used within a day, by name; older ones are forgotten."""
    client.zremrangebyscore(keys.NAMESPACES, "-inf", now_s - USE_TTL_S)
    return sorted(
        name.decode() for name in cast("list[bytes]", client.zrange(keys.NAMESPACES, 0, -1))
    )


def read(client: redis.Redis, namespace: str) -> dict[str, Use]:
    """Return what is known of every key of a namespace."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.usage(namespace)))
    uses = ((key.decode(), decode(message)) for key, message in stored.items())
    return {key: use for key, use in uses if use is not None}


def tally(client: redis.Redis, namespace: str, now_s: float) -> Tally:
    """Return the loads of this hour and the one before."""
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.tally(namespace, now_s))
        pipe.hgetall(keys.tally(namespace, now_s - keys.HOUR_S))
        hours = cast("list[dict[bytes, bytes]]", pipe.execute())
    sums = (_sum(hours, field) for field in (b"loads", b"warmed", b"warmed_hits"))
    return Tally(*sums)


def trim(client: redis.Redis, namespace: str) -> int:
    """Forget all but the keys used last. Return how many went."""
    uses = read(client, namespace)
    oldest = sorted(uses, key=lambda key: uses[key].last_use_s)[: max(0, len(uses) - MOST_KEYS)]
    if oldest:
        with client.pipeline(transaction=False) as pipe:
            pipe.hdel(keys.usage(namespace), *oldest)
            pipe.hdel(keys.warmed(namespace), *oldest)
            pipe.execute()
    return len(oldest)


def _sum(hours: Iterable[Mapping[bytes, bytes]], field: bytes) -> int:
    return sum(int(hour.get(field, 0)) for hour in hours)


def renewed(client: redis.Redis, namespace: str, key: str, expires_s: float) -> None:
    """Note that a key's value was loaded ahead and now expires later."""
    use = decode(cast("bytes | None", client.hget(keys.usage(namespace), key)))
    if use is not None:
        use.expires_s = max(use.expires_s, expires_s)
        client.hset(keys.usage(namespace), key, msgspec.msgpack.encode(use))
