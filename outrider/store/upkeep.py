"""Seals, rolls up and expires everything that is kept of one host, one worker at a time.

Each step is safe to repeat, also after a crash in its middle. Two workers at the same host at the
same time would be safe for raw rows, but the slower one could put a bucket back that the faster one
had made from more rows; so a host is locked for as long as a task may run.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, cast

from outrider.store import keys, rollups

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.settings import Retention
    from outrider.store.sketches import SketchStore
    from outrider.store.tiers import Tiers

# A task beyond its time limit ends its worker, so nobody outlives the lock.
TIME_LIMIT_S = 120
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


@contextlib.contextmanager
def locked(client: redis.Redis, host: str) -> Iterator[bool]:
    """Hold a host's upkeep; yields False when somebody else is at it."""
    key, token = keys.upkeep(host), secrets.token_hex(8)
    ours = bool(client.set(key, token, nx=True, ex=TIME_LIMIT_S + 5))
    try:
        yield ours
    finally:
        if ours:
            client.eval(_RELEASE, 1, key, token)


def seal(tiers: Tiers, sketches: SketchStore, host: str, now_s: float) -> dict[str, int]:
    """Seal what is over, in all tiers, roll-ups made on the way. Return counts.

    ``sealed`` raw ranges, ``buckets`` of five minutes made from them, ``compressed`` ranges of the
    coarser tiers, ``sketches`` rolled up; ``damaged`` and ``refused`` only when there are any.
    """
    before = troubles(tiers, sketches)
    buckets = 0

    def roll_up(start_s: float, end_s: float) -> None:
        nonlocal buckets
        buckets += rollups.roll_up(tiers, host, start_s, end_s)

    done = {"sealed": tiers.raw.seal(host, now_s, before_commit=roll_up), "buckets": buckets}
    done["compressed"] = tiers.five_minutes.seal(host, now_s) + tiers.hours.seal(host, now_s)
    done["sketches"] = sketches.seal(host, now_s)
    after = troubles(tiers, sketches)
    return done | {name: new for name in after if (new := after[name] - before[name])}


def heal(
    tiers: Tiers, sketches: SketchStore, host: str, now_s: float, *, since_s: float
) -> dict[str, int]:
    """Make the roll-ups that are missing although their raw rows are there. Return counts."""
    return {
        "buckets": rollups.heal(tiers, host, now_s, since_s=since_s),
        "sketches": sketches.heal(host, now_s, since_s=since_s),
    }


def expire(
    tiers: Tiers, sketches: SketchStore, retention: Retention, host: str, now_s: float
) -> dict[str, int]:
    """Forget what is older than each tier is kept. Return how many ranges of rows."""
    kept_s = (retention.raw, retention.five_minutes, retention.hours)
    sketches.expire(host, now_s)
    return {
        store_name: store.expire(host, now_s - each_s)
        for store_name, store, each_s in zip(
            ("raw", "five_minutes", "hours"), tiers.all(), kept_s, strict=True
        )
    }


def hosts(tiers: Tiers) -> list[str]:
    """Return every host that has rows in any tier: one that is gone still has old ones."""
    return sorted({host for store in tiers.all() for host in store.hosts()})


def troubles(tiers: Tiers, sketches: SketchStore) -> dict[str, int]:
    """Return what could not be read or was not taken, as far as the stores count it."""
    parts = (*tiers.all(), sketches)
    return {
        name: sum(cast("int", getattr(part, name, 0)) for part in parts)
        for name in ("damaged", "refused")
    }


def series(tiers: Tiers, sketches: SketchStore) -> dict[str, float]:
    """Return the same since the start of this process as series."""
    found = troubles(tiers, sketches)
    return {f"store.{name}_total": float(count) for name, count in found.items()}
