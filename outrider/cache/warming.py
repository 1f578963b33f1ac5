"""Warming across processes: plan from recorded use, run loaders, keep the values in Redis."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from outrider.cache import keys, loaders, patterns, usage
from outrider.cache.planner import LEAST_CHANCE, WarmingPlanner, outlook
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import redis

    from outrider.cache.usage import Tally, Use
    from outrider.clock import Clock

__all__ = ["Warmed", "WarmingPlanner", "choose", "plan", "reload", "run"]

# Planned, queued and loaded by then; a value is not loaded much before it is needed.
LEAD_S = 1.0
# Uses reach Redis with the flush of the bot's process.
_SLACK_S = 2 * patterns.FLUSH_S
_PLAN_TTL_S = 3600
_FIRST_AHEAD_S, _LONGEST_AHEAD_S = 10.0, 60.0

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, key


@dataclass(frozen=True, slots=True)
class Warmed:
    """What a run of loaders did."""

    warmed: int
    failed: list[dict[str, str]]
    load_s: float


def choose(
    uses: Mapping[str, Use], tally: Tally, *, now_s: float, until_s: float, budget: float
) -> list[str]:
    """Return the keys of one namespace to load now: best first, within the budget.

    ``until_s`` is when this will be asked next: what becomes due before then is chosen now.
    """
    found: list[tuple[float, str]] = []
    for key, use in uses.items():
        if not use.is_repeatable or use.ttl_s <= 0:
            continue
        seen = outlook(
            use.rhythm,
            expires_s=use.expires_s,
            ttl_s=use.ttl_s,
            now_s=now_s,
            lead_s=LEAD_S,
            slack_s=_SLACK_S,
        )
        if seen is None or seen.due_s >= until_s:
            continue
        # Loaded now rather than when due, the value also expires earlier: judged accordingly.
        chance = use.rhythm.chance(max(now_s, use.expires_s), now_s + use.ttl_s)
        if chance >= LEAST_CHANCE:
            found.append((-chance, key))
    return [key for _, key in sorted(found)[: tally.allowance(budget)]]


def plan(
    client: redis.Redis, *, now_s: float, budget: float, allowed: Collection[str]
) -> list[Key]:
    """Return the keys of all namespaces to load now.

    What becomes due before the next plan is chosen; that is taken to come as long after this one
    as this one came after the last. A second plan within a second is empty.
    """
    until_s = _until(client, now_s)
    if until_s is None:
        return []
    chosen: list[Key] = []
    for namespace in usage.namespaces(client, now_s):
        uses = {
            key: use
            for key, use in usage.read(client, namespace).items()
            if use.loader.partition(":")[0] in allowed
        }
        tally = usage.tally(client, namespace, now_s)
        chosen += [
            (namespace, key)
            for key in choose(uses, tally, now_s=now_s, until_s=until_s, budget=budget)
        ]
    return chosen


def _until(client: redis.Redis, now_s: float) -> float | None:
    """Return the time of the next plan, or None when the last was within a second."""
    last = client.set(keys.PLANNED, now_s, ex=_PLAN_TTL_S, get=True)
    if last is None:
        return now_s + _FIRST_AHEAD_S
    since_s = now_s - float(cast("bytes", last))
    return None if since_s < 1 else now_s + min(since_s, _LONGEST_AHEAD_S)


def run(
    client: redis.Redis,
    wanted: Iterable[Sequence[str]],
    *,
    allowed: Collection[str],
    clock: Clock,
    even_if_fresh: bool = False,
) -> Warmed:
    """Load keys, given as ``(namespace, key)``, and keep their values in Redis.

    A key whose value has more than half its life before it is left alone, so that a batch may be
    delivered twice. One that fails is logged, returned in ``failed``, and does not stop the rest.
    """
    warmed, load_s = 0, 0.0
    failed: list[dict[str, str]] = []
    for namespace, key in wanted:
        try:
            use = _recorded(client, namespace, key)
            if not even_if_fresh and use.expires_s > clock.now() + use.ttl_s / 2:
                continue
            load_s += reload(client, namespace, key, use, allowed=allowed, clock=clock)
            warmed += 1
        except Exception as error:  # noqa: BLE001 - a loader is the user's code
            logger.warning("cache: warming %s %s failed: %s", namespace, key, error)
            failed.append({"namespace": namespace, "key": key, "error": str(error)})
    return Warmed(warmed, failed, load_s)


def _recorded(client: redis.Redis, namespace: str, key: str) -> Use:
    use = usage.decode(cast("bytes | None", client.hget(keys.usage(namespace), key)))
    if use is None:
        raise BadArgument(
            f"no use of {key!r} is recorded in namespace {namespace!r}; it may have been "
            "forgotten, or was never used through @outrider.cached."
        )
    return use


def reload(
    client: redis.Redis,
    namespace: str,
    key: str,
    use: Use,
    *,
    allowed: Collection[str],
    clock: Clock,
) -> float:
    """Make a recorded call again and keep its value with a fresh life. Return the seconds it took.

    Raises:
        BadArgument: the loader may not run here, the call can't be repeated, or the value can't
            be cached.
        Exception: whatever the loader raises; what is cached then stays.
    """
    loader = loaders.find(use.loader, namespace, allowed=allowed)
    if use.args is None:
        raise BadArgument(f"{key!r} of {namespace!r} has arguments that JSON can't carry.")
    start = time.perf_counter()
    value = loader(use.args, use.kwargs)
    load_s = time.perf_counter() - start
    now_s = clock.now()
    expires_s = now_s + loader.ttl_s
    # Until the old value would have expired, a hit owes nothing to warming.
    from_s = max(now_s, use.expires_s)
    kept = loader.codec().encode(value, expires_s=expires_s, warmed_from_s=from_s)
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys.value(namespace, key), kept, px=max(1, round(loader.ttl_s * 1000)))
        pipe.hset(keys.warmed(namespace), key, now_s)
        pipe.expire(keys.warmed(namespace), usage.USE_TTL_S)
        usage.count(pipe, namespace, now_s, warmed=1)
        pipe.execute()
    usage.renewed(client, namespace, key, expires_s)
    return load_s
