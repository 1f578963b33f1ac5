"""Warming across processes: plan from the log of uses, run loaders, keep their values in Redis."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from outrider.cache import ahead, keys, loaders, space, usage
from outrider.cache.agenda import Due
from outrider.cache.planner import WarmingPlanner
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Iterable, Sequence

    import redis

    from outrider.cache.agenda import Agenda
    from outrider.cache.asking import Answer, Ask
    from outrider.cache.loaders import Loader
    from outrider.cache.usage import Use
    from outrider.clock import Clock

__all__ = ["Planned", "Warmed", "WarmingPlanner", "plan", "run"]

# A second plan within this is empty: it was sent twice.
LEAST_PAUSE_S = 0.5
# Uses reach Redis within a second; a plan goes a little further than the next one's time.
_SLACK_S = 2.0
_PLAN_TTL_S = 3600
_NEXT_SHARE = 0.1  # of the shortest time to live, until the next plan
_SHORTEST_NEXT_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan decided: who loads what when, and when to plan again at the latest."""

    by_workers: list[Due] = field(default_factory=list)
    by_bots: list[Due] = field(default_factory=list)
    next_s: float | None = None


@dataclass(slots=True)
class Warmed:
    """What a run of loaders did."""

    warmed: int = 0
    fresh: int = 0
    fenced: int = 0
    late: int = 0
    left: int = 0  # to bots that can't be asked: they look themselves
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
    can_ask: bool = False,
) -> Planned:
    """Decide what is loaded when, until the next plan, ``every_s`` from now or sooner.

    Keys whose loader's module is ``allowed`` are for workers; the others are for the bots that use
    them. Unless somebody ``can_ask`` those at the right moment, their keys are left in Redis, where
    bots look themselves (``outrider.cache.inbot``).
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
    if not can_ask:
        leave(client, by_bots)
    return Planned(by_workers, by_bots, next_s if next_s < every_s else None)


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
    ask: Ask | None = None,
) -> Warmed:
    """Load keys, given as ``(namespace, key)``, and keep their values in Redis.

    A key whose value has more than half its life before it is left alone, so that a batch may be
    delivered twice. One that fails is logged, returned in ``failed``, and does not stop the rest;
    after ``deadline_s`` the rest is left. ``ask`` reaches bots whose loaders may not run here; keys
    of those it can't reach are left for them.
    """
    done = Warmed()
    by_bots: list[tuple[str, str, Use]] = []
    for namespace, key in wanted:
        if deadline_s is not None and clock.now() >= deadline_s:
            done.late += 1
            continue
        try:
            use = recorded(client, namespace, key)
            if ask is not None and use.bot and use.loader.partition(":")[0] not in allowed:
                by_bots.append((namespace, key, use))
                continue
            load_s = reload(
                client, namespace, key, use,
                allowed=allowed, clock=clock, even_if_fresh=even_if_fresh,
            )  # fmt: skip
        except ahead.Fenced:
            done.fenced += 1
        except Exception as error:  # noqa: BLE001 - a loader is the user's code
            _failed(done, namespace, key, str(error))
        else:
            done.warmed += load_s is not None
            done.fresh += load_s is None
            done.load_s += load_s or 0.0
    if ask is not None and by_bots:
        _ask(
            client, done, by_bots, ask,
            clock=clock, deadline_s=deadline_s, even_if_fresh=even_if_fresh,
        )  # fmt: skip
    return done


def present(
    client: redis.Redis, namespace: str, names: Sequence[str], *, version: str = ""
) -> list[bool]:
    """Tell for each key whether its value is there."""
    generation = space.generation(client, namespace, version)
    with client.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.exists(keys.value(namespace, key, generation))
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
    even_if_fresh: bool = False,
) -> float | None:
    """Make a recorded call again here, as :func:`load` does, by the loader that it names.

    Raises:
        BadArgument: the loader may not run here.
    """
    loader = loaders.find(use.loader, namespace, allowed=allowed, version=use.version)
    return load(client, loader, key, use=use, clock=clock, even_if_fresh=even_if_fresh)


def load(
    client: redis.Redis,
    loader: Loader,
    key: str,
    *,
    use: Use,
    clock: Clock,
    even_if_fresh: bool = False,
    loop: asyncio.AbstractEventLoop | None = None,
    timeout_s: float | None = None,
) -> float | None:
    """Make a recorded call again and keep its value with a fresh life. Return the seconds it took.

    None: its value has more than half its life before it, and was left.

    Raises:
        BadArgument: the call can't be repeated, or the value can't be cached.
        Fenced: another process loads it, or it was invalidated meanwhile.
        Exception: whatever the loader raises; what is cached then stays.
    """
    namespace, args, load_s, until_s = loader.namespace, use.args, 0.0, 0.0
    if args is None:
        raise BadArgument(f"{key!r} of {namespace!r} has arguments that JSON can't carry.")

    def make() -> tuple[bytes, float]:
        nonlocal load_s, until_s
        start = time.perf_counter()
        value = loader.load(args, use.kwargs, loop=loop, timeout_s=timeout_s)
        load_s = time.perf_counter() - start
        now_s = clock.now()
        fresh_s, life_s = loader.lives(value)
        until_s = now_s + fresh_s
        # Until the old value would have expired, a hit owes nothing to warming.
        from_s = max(now_s, use.expires_s)
        return loader.codec().encode(value, expires_s=until_s, warmed_from_s=from_s), life_s

    fresh_s = ahead.NEVER_FRESH_S if even_if_fresh else loader.stale_s + loader.ttl_s / 2
    if not ahead.load(client, namespace, key, version=loader.version, fresh_s=fresh_s, make=make):
        return None
    now_s = clock.now()
    with client.pipeline(transaction=True) as pipe:
        pipe.hset(keys.warmed(namespace), key, now_s)
        pipe.expire(keys.warmed(namespace), usage.USE_TTL_S)
        usage.count(pipe, namespace, now_s, warmed=1)
        pipe.execute()
    usage.renewed(client, namespace, key, until_s)
    return load_s


def _ask(
    client: redis.Redis,
    done: Warmed,
    by_bots: list[tuple[str, str, Use]],
    ask: Ask,
    *,
    clock: Clock,
    deadline_s: float | None,
    even_if_fresh: bool,
) -> None:
    from outrider.cache.asking import Request  # which needs this module

    now_s = clock.now()
    answers = ask(
        [
            (
                use.bot,
                Request(
                    namespace=namespace, key=key, loader=use.loader, version=use.version,
                    deadline_s=min(deadline_s or math.inf, now_s + max(1.0, use.ttl_s / 2)),
                    even_if_fresh=even_if_fresh,
                ),
            )
            for namespace, key, use in by_bots
        ]
    )  # fmt: skip
    left = []
    for (namespace, key, _), answer in zip(by_bots, answers, strict=True):
        if answer.outcome == "nobody":
            left.append(Due(namespace, key, now_s))
        _count(done, namespace, key, answer)
    leave(client, left)


def _count(done: Warmed, namespace: str, key: str, answer: Answer) -> None:
    done.load_s += answer.load_s
    match answer.outcome:
        case "warmed":
            done.warmed += 1
        case "fresh":
            done.fresh += 1
        case "fenced":
            done.fenced += 1
        case "late":
            done.late += 1
        case "nobody":
            done.left += 1
        case _:
            _failed(done, namespace, key, answer.error)


def _failed(done: Warmed, namespace: str, key: str, error: str) -> None:
    logger.warning("cache: warming %s %s failed: %s", namespace, key, error)
    done.failed.append({"namespace": namespace, "key": key, "error": error})


def leave(client: redis.Redis, due: Iterable[Due]) -> None:
    """Leave keys for the bots that use them. One entry a key: what is old is replaced."""
    by_namespace: dict[str, dict[str, float]] = {}
    for one in due:
        by_namespace.setdefault(one.namespace, {})[one.key] = one.at_s
    with client.pipeline(transaction=False) as pipe:
        for namespace, when in by_namespace.items():
            pipe.zadd(keys.due(namespace), when)
            pipe.expire(keys.due(namespace), _PLAN_TTL_S)
        pipe.execute()
