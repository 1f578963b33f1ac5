"""Warming across processes: plan from the log of uses, run loaders, keep their values in Redis."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from outrider.cache import asking, keys, loaders, usage
from outrider.cache.planner import WarmingPlanner
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    import redis

    from outrider.cache.agenda import Agenda, Due
    from outrider.cache.asking import Ask
    from outrider.cache.usage import Use
    from outrider.clock import Clock

__all__ = ["Fenced", "Planned", "Warmed", "WarmingPlanner", "plan", "reload", "run"]

# A second plan within this is empty: it was sent twice.
LEAST_PAUSE_S = 0.5
# Uses reach Redis within a second; a plan goes a little further than the next one's time.
_SLACK_S = 2.0
_PLAN_TTL_S = 3600
_NEXT_SHARE = 0.1  # of the shortest time to live, until the next plan
_SHORTEST_NEXT_S = 1.0
_FENCE_TTL_S = 86_400

# A value is kept only if it is newer than what is there: no load ahead that began later has ended,
# and the value is still the one that was seen before loading. One that vanished before its time was
# invalidated.
_KEEP = """
local newest = redis.call('HGET', KEYS[2], ARGV[1])
if newest and tonumber(newest) > tonumber(ARGV[2]) then return 0 end
local there = redis.call('GET', KEYS[1]) or ''
if there ~= ARGV[3] and not (there == '' and ARGV[4] == 'expired') then return 0 end
redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[6])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[7])
return 1
"""

logger = logging.getLogger(__name__)


class Fenced(Exception):  # noqa: N818 - no error: somebody was faster
    """What was loaded is not kept, for what is there is newer."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan decided: who loads what when, and when to plan again at the latest."""

    by_workers: list[Due] = field(default_factory=list)
    by_bots: list[Due] = field(default_factory=list)
    next_s: float | None = None
    token: int = 0


@dataclass(slots=True)
class Warmed:
    """What a run of loaders did."""

    warmed: int = 0
    fresh: int = 0
    fenced: int = 0
    late: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    load_s: float = 0.0


def plan(
    client: redis.Redis,
    agenda: Agenda,
    *,
    now_s: float,
    every_s: float,
    budget_of: Callable[[str], float],
    allowed: Collection[str],
) -> Planned:
    """Decide what is loaded when, until the next plan, ``every_s`` from now or sooner.

    Keys whose loader's module is ``allowed`` are for workers; the others are left in Redis for the
    bots that use them, which load them themselves (``outrider.cache.inbot``).
    """
    agenda.catch_up(client, now_s=now_s, budget_of=budget_of)
    shortest_s = agenda.shortest_ttl_s()
    next_s = every_s
    if shortest_s is not None:
        next_s = min(every_s, max(_SHORTEST_NEXT_S, shortest_s * _NEXT_SHARE))
    until_s = now_s + next_s + _SLACK_S
    last = client.set(keys.PLANNED, f"{now_s} {until_s}", ex=_PLAN_TTL_S, get=True)
    last_s, since_s = map(float, cast("bytes", last).split()) if last else (-1.0, -1.0)
    if 0 <= now_s - last_s < LEAST_PAUSE_S:
        client.set(keys.PLANNED, cast("bytes", last), ex=_PLAN_TTL_S)
        return Planned()
    due = agenda.plan(client, now_s=now_s, since_s=since_s, until_s=until_s)
    by_workers: list[Due] = []
    by_bots: list[Due] = []
    for one in due:
        module = agenda.loader(one.namespace).partition(":")[0]
        (by_workers if module in allowed else by_bots).append(one)
    token = int(client.incr(keys.TOKEN)) if due else 0
    _leave(client, by_bots)
    return Planned(by_workers, by_bots, next_s if next_s < every_s else None, token)


def out_of_turn(client: redis.Redis, next_s: float) -> bool:
    """Tell whether a plan is to be sent for in ``next_s``: none is on its way yet."""
    return bool(client.set(keys.REPLANNED, 1, nx=True, px=max(1, int(next_s * 900))))


def run(
    client: redis.Redis,
    wanted: Iterable[Sequence[str]],
    *,
    allowed: Collection[str],
    clock: Clock,
    even_if_fresh: bool = False,
    deadline_s: float | None = None,
    token: int | None = None,
    ask: Ask | None = None,
) -> Warmed:
    """Load keys, given as ``(namespace, key)``, and keep their values in Redis.

    A key whose value has more than half its life before it is left alone, so that a batch may be
    delivered twice. One that fails is logged, returned in ``failed``, and does not stop the rest;
    after ``deadline_s`` the rest is left. ``ask`` reaches bots whose loaders may not run here.
    """
    done = Warmed()
    if token is None:
        token = int(client.incr(keys.TOKEN))
    for namespace, key in wanted:
        if deadline_s is not None and clock.now() >= deadline_s:
            done.late += 1
            continue
        try:
            use = recorded(client, namespace, key)
            if not even_if_fresh and is_fresh(client, namespace, key, use, clock.now()):
                done.fresh += 1
                continue
            done.load_s += reload(
                client, namespace, key, use, allowed=allowed, clock=clock, token=token, ask=ask
            )
            done.warmed += 1
        except Fenced:
            done.fenced += 1
        except Exception as error:  # noqa: BLE001 - a loader is the user's code
            logger.warning("cache: warming %s %s failed: %s", namespace, key, error)
            done.failed.append({"namespace": namespace, "key": key, "error": str(error)})
    return done


def is_fresh(client: redis.Redis, namespace: str, key: str, use: Use, now_s: float) -> bool:
    """Tell whether a key's value is there and has more than half its life before it."""
    return use.expires_s > now_s + use.ttl_s / 2 and bool(client.exists(keys.value(namespace, key)))


def present(client: redis.Redis, namespace: str, names: Sequence[str]) -> list[bool]:
    """Tell for each key whether its value is there."""
    with client.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.exists(keys.value(namespace, key))
        return [bool(found) for found in pipe.execute()]


def recorded(client: redis.Redis, namespace: str, key: str) -> Use:
    """Return what is known of a key. Raises BadArgument when it was never used."""
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
    token: int = 0,
    ask: Ask | None = None,
) -> float:
    """Make a recorded call again and keep its value with a fresh life. Return the seconds it took.

    Raises:
        BadArgument: the loader may not run here, the call can't be repeated, or the value can't
            be cached.
        Fenced: what is there by now is newer, or was invalidated.
        Exception: whatever the loader raises; what is cached then stays.
    """
    if use.args is None:
        raise BadArgument(f"{key!r} of {namespace!r} has arguments that JSON can't carry.")
    in_bot = ask is not None and use.bot and use.loader.partition(":")[0] not in allowed
    loader = None if in_bot else loaders.find(use.loader, namespace, allowed=allowed,
                                              version=use.version)  # fmt: skip
    seen = cast("bytes | None", client.get(keys.value(namespace, key)))
    start = time.perf_counter()
    if loader is None:
        assert ask is not None
        kept = ask(
            use.bot,
            asking.name(namespace, use.loader, use.version),
            asking.arguments(use.args, use.kwargs),
            clock.now() + use.ttl_s / 2,
        )
    else:
        value = loader.load(use.args, use.kwargs)
        now_s = clock.now()
        # Until the old value would have expired, a hit owes nothing to warming.
        kept = loader.codec().encode(
            value, expires_s=now_s + loader.ttl_s, warmed_from_s=max(now_s, use.expires_s)
        )
    load_s = time.perf_counter() - start
    ttl_s = use.ttl_s if loader is None else loader.ttl_s
    keep(client, namespace, key, kept, ttl_s=ttl_s, seen=seen, use=use, clock=clock, token=token)
    return load_s


def keep(
    client: redis.Redis,
    namespace: str,
    key: str,
    kept: bytes,
    *,
    ttl_s: float,
    seen: bytes | None,
    use: Use,
    clock: Clock,
    token: int,
) -> None:
    """Write a value that was loaded ahead, unless what is there is newer. Raises Fenced."""
    now_s = clock.now()
    gone = "expired" if seen is None or use.expires_s <= now_s else "alive"
    stored = client.eval(
        _KEEP, 2, keys.value(namespace, key), keys.fence(namespace),
        key, token, seen or b"", gone, kept, max(1, round(ttl_s * 1000)), _FENCE_TTL_S,
    )  # fmt: skip
    if not stored:
        raise Fenced
    with client.pipeline(transaction=True) as pipe:
        pipe.hset(keys.warmed(namespace), key, now_s)
        pipe.expire(keys.warmed(namespace), usage.USE_TTL_S)
        usage.count(pipe, namespace, now_s, warmed=1)
        pipe.execute()
    usage.renewed(client, namespace, key, now_s + ttl_s)


def _leave(client: redis.Redis, due: Iterable[Due]) -> None:
    """Leave keys for the bots that use them. One entry a key: what is old is replaced."""
    by_namespace: dict[str, dict[str, float]] = {}
    for one in due:
        by_namespace.setdefault(one.namespace, {})[one.key] = one.at_s
    with client.pipeline(transaction=False) as pipe:
        for namespace, when in by_namespace.items():
            pipe.zadd(keys.due(namespace), when)
            pipe.expire(keys.due(namespace), _PLAN_TTL_S)
        pipe.execute()
