"""Celery as series of the fleet's row; nothing of Celery is imported.

Our own application is looked at here: its broker is our Redis. Others are watched by who holds
their lease (``workers.celery_observer``) and leaves what was seen in our Redis; so a broker that is
away, or hangs, costs the tick nothing. Both leave their counts in :mod:`.celery_counts`.

Ours are called ``celery.queue.NAME.length``, ``celery.tasks.failed_total``, ...; those of an
application ``shop`` are called ``celery.shop.queue.NAME.length`` and so on.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from outrider import sketch
from outrider.clock import tick_at
from outrider.metrics import celery_counts as counts_module
from outrider.metrics import celery_workers
from outrider.metrics.celery_counts import KINDS, OVERFLOW, OWN
from outrider.metrics.celery_events import UNKNOWN
from outrider.metrics.celery_queues import Broker, Layout, Look
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import redis

    from outrider.metrics.celery_counts import Field
    from outrider.metrics.celery_workers import Worker

# Tasks, exceptions and workers with series of their own; the rest share ``overflow``.
MOST_TASKS = 30
MOST_EXCEPTIONS = 15
MOST_WORKERS = 50
# Who watches an application writes every second, and looks at its broker once a tick.
WATCHED_WITHIN_S = 15.0
_TOTALS = (*KINDS, "unseen", "odd", "unclean")
_QUANTILES = (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99))
_EXCEPTION = "!"  # marks exceptions in the set of what has series of its own


class Receiver(msgspec.Struct, kw_only=True):
    """What an application's receiver of events says of itself; ``heard_s`` is its last sign."""

    at_s: float
    heard_s: float = 0.0
    connects: int = 0


class Sight(msgspec.Struct, kw_only=True):
    """The newest look at an application's broker. ``up`` is False when it did not answer."""

    at_s: float
    up: bool
    every_s: float = 10.0
    unacked: int = 0
    queues: dict[str, dict[str, float | None]] = {}
    why: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Everything kept of an application, as read from Redis at once."""

    counts: dict[Field, int]
    runtimes: dict[str, dict[int, int]]
    workers: dict[str, Worker]
    shown: set[str]
    receiver: Receiver | None
    sight: Sight | None


def collect(
    client: redis.Redis,
    queues: Iterable[str],
    *,
    apps: Sequence[str] = (),
    now_s: float,
    interval_s: float,
) -> dict[str, float]:
    """Return the series of our own application and of the ``apps`` watched besides.

    Raises:
        redis.RedisError: our Redis does not answer, or refuses.
    """
    look = Broker(client, client, OWN, Layout()).look(queues, now_s)
    values = _queues("celery", look) | {"celery.unacked": float(look.unacked)}
    tick = tick_at(now_s, interval_s) - 1
    own = state_of(client, OWN, tick)
    if gone := [name for name, worker in own.workers.items() if worker.forgotten(now_s)]:
        client.hdel(keys.celery(OWN, "workers"), *gone)
    values |= _activity("celery", client, OWN, own, now_s)
    for app in apps:
        state = state_of(client, app, tick)
        values |= _watched(f"celery.{app}", state, now_s)
        values |= _activity(f"celery.{app}", client, app, state, now_s)
    return values


def state_of(client: redis.Redis, app: str, tick: int) -> State:
    """Return what is kept of an application; runtimes are those of the tasks that ended in a tick.

    One round trip.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.celery(app, "counts"))
        pipe.hgetall(keys.celery_runtimes(app, tick))
        pipe.hgetall(keys.celery(app, "workers"))
        pipe.smembers(keys.celery(app, "shown"))
        pipe.get(keys.celery(app, "receiver"))
        pipe.get(keys.celery(app, "look"))
        counts, runtimes, workers, shown, receiver, sight = pipe.execute()
    return State(
        counts_module.parse(counts),
        counts_module.parse_runtimes(runtimes),
        celery_workers.parse(workers),
        {name.decode("utf-8", "replace") for name in shown},
        _decoded(receiver, Receiver),
        _decoded(sight, Sight),
    )


def sight(look: Look, now_s: float, every_s: float) -> bytes:
    """Return a look at a broker as it is kept."""
    shown: dict[str, dict[str, float | None]] = {
        name: asdict(queue) for name, queue in look.queues.items()
    }
    return msgspec.json.encode(
        Sight(at_s=now_s, up=True, every_s=every_s, unacked=look.unacked, queues=shown)
    )


def blind(now_s: float, every_s: float, why: str) -> bytes:
    """Return what is kept when the broker did not answer."""
    return msgspec.json.encode(Sight(at_s=now_s, up=False, every_s=every_s, why=why))


def fresh(seen: Sight | None, now_s: float) -> bool:
    """Tell whether a look is new enough to speak of now."""
    return seen is not None and now_s - seen.at_s <= 2 * seen.every_s + WATCHED_WITHIN_S


def hears(receiver: Receiver | None, now_s: float) -> bool:
    """Tell whether an application's events are listened to."""
    return receiver is not None and now_s - receiver.heard_s <= WATCHED_WITHIN_S


def heard_until(state: State, now_s: float) -> float:
    """Return until when heartbeats would have been heard: silence of the deaf says nothing."""
    receiver = state.receiver
    return now_s if receiver is None or hears(receiver, now_s) else receiver.heard_s


def _watched(prefix: str, state: State, now_s: float) -> dict[str, float]:
    """Return whether an application is seen and heard, and its queues if so."""
    seen, receiver = state.sight, state.receiver
    values = {f"{prefix}.watched": float(fresh(seen, now_s) or hears(receiver, now_s))}
    if receiver is not None:
        values[f"{prefix}.receiver_up"] = float(hears(receiver, now_s))
        values[f"{prefix}.receiver_connects_total"] = float(receiver.connects)
    if seen is None or not fresh(seen, now_s):
        return values
    values[f"{prefix}.broker_up"] = float(seen.up)
    if seen.up:
        values[f"{prefix}.unacked"] = float(seen.unacked)
        for name, queue in seen.queues.items():
            for what, value in queue.items():
                if value is not None:
                    values[f"{prefix}.queue.{name}.{what}"] = round(float(value), 1)
    return values


def _queues(prefix: str, look: Look) -> dict[str, float]:
    return {
        f"{prefix}.queue.{name}.{what}": round(float(value), 1)
        for name, queue in look.queues.items()
        for what, value in asdict(queue).items()
        if value is not None
    }


def _activity(
    prefix: str, client: redis.Redis, app: str, state: State, now_s: float
) -> dict[str, float]:
    """Return what tasks and workers of an application do."""
    if not state.counts and not state.workers:
        return {}
    totals: Counter[str] = Counter(dict.fromkeys(_TOTALS, 0))
    for each, by in state.counts.items():
        totals[each.kind] += by
    values = {f"{prefix}.tasks.{kind}_total": float(totals[kind]) for kind in _TOTALS}
    values[f"{prefix}.tasks.runtime.count"] = float(_runs(totals))
    values[f"{prefix}.tasks.runtime.sum_s"] = round(totals["us"] / 1e6, 6)
    everything: Counter[int] = Counter()
    for buckets in state.runtimes.values():
        everything.update(buckets)
    values |= _quantiles(f"{prefix}.tasks.runtime", everything)
    values |= _by_task(prefix, state, _admit(client, app, state))
    return values | _workers(prefix, state, now_s)


def _by_task(prefix: str, state: State, shown: set[str]) -> dict[str, float]:
    """Return series of single tasks, and of failures by exception."""
    sums: Counter[str] = Counter()
    for each, by in state.counts.items():
        if each.kind in ("succeeded", "failed", "retried"):
            task = each.task if each.task in shown else OVERFLOW
            sums[f"{prefix}.task.{task}.{each.kind}_total"] += by
        if each.kind == "us" or each.kind.startswith("le"):
            task = each.task if each.task in shown else OVERFLOW
            end = "sum_us" if each.kind == "us" else "count"
            sums[f"{prefix}.task.{task}.runtime.{end}"] += by
        if each.kind == "failed":
            kind = each.exception if _EXCEPTION + each.exception in shown else OVERFLOW
            sums[f"{prefix}.failures.{kind}_total"] += by
    values = {
        name.removesuffix("us") + "s": round(by / 1e6, 6)
        for name, by in sums.items()
        if name.endswith(".sum_us")
    } | {name: float(by) for name, by in sums.items() if not name.endswith(".sum_us")}
    for task, buckets in state.runtimes.items():
        if task in shown:
            values |= _quantiles(f"{prefix}.task.{task}.runtime", buckets, _QUANTILES[1:2])
    return values


def _admit(client: redis.Redis, app: str, state: State) -> set[str]:
    """Return the tasks and exceptions that have series of their own, the busiest that there are.

    Who has them keeps them: a counter that moves to ``overflow`` and back would seem to begin anew.
    """
    busy: Counter[str] = Counter()
    for each, by in state.counts.items():
        if each.kind in ("received", "succeeded", "failed") and each.task not in (
            UNKNOWN, OVERFLOW,
        ):  # fmt: skip
            busy[each.task] += by
        if each.kind == "failed" and each.exception != OVERFLOW:
            busy[_EXCEPTION + each.exception] += by
    shown = state.shown
    rooms = {True: MOST_EXCEPTIONS, False: MOST_TASKS}
    for name in shown:
        rooms[name.startswith(_EXCEPTION)] -= 1
    fresh_names = []
    for name, _ in busy.most_common():
        if name not in shown and name not in (_EXCEPTION, "") and rooms[name[0] == _EXCEPTION] > 0:
            rooms[name[0] == _EXCEPTION] -= 1
            fresh_names.append(name)
    if fresh_names:
        client.sadd(keys.celery(app, "shown"), *fresh_names)
    return shown | set(fresh_names)


def _workers(prefix: str, state: State, now_s: float) -> dict[str, float]:
    """Return which workers live. One that said goodbye has no series of its own any more."""
    until_s = heard_until(state, now_s)
    states = {name: worker.state(until_s) for name, worker in state.workers.items()}
    known = [name for name in sorted(states) if states[name] != "offline"]
    up = [state.workers[name] for name in known if states[name] == "up"]
    values = {
        f"{prefix}.workers.up": float(len(up)),
        f"{prefix}.workers.silent": float(len(known) - len(up)),
        f"{prefix}.workers.active": float(sum(worker.active for worker in up)),
        f"{prefix}.workers.processes": float(sum(worker.processes or 0 for worker in up)),
    }
    consumers: Counter[str] = Counter(queue for worker in up for queue in worker.queues)
    for queue, number in consumers.items():
        values[f"{prefix}.queue.{queue}.consumers"] = float(number)
    if state.sight is not None:
        for queue in state.sight.queues:
            values.setdefault(f"{prefix}.queue.{queue}.consumers", 0.0)
    for name in known[:MOST_WORKERS]:
        worker, mine = state.workers[name], f"{prefix}.worker.{name}"
        values[f"{mine}.up"] = float(states[name] == "up")
        values[f"{mine}.heartbeat_age_s"] = round(max(0.0, until_s - worker.at_s), 1)
        values[f"{mine}.active"] = float(worker.active if states[name] == "up" else 0)
        if worker.processes is not None:
            values[f"{mine}.processes"] = float(worker.processes)
    return values


def _quantiles(
    name: str, buckets: Mapping[int, int], wanted: Iterable[tuple[str, float]] = _QUANTILES
) -> dict[str, float]:
    found = {f"{name}.{end}": sketch.quantile(buckets, q) for end, q in wanted}
    return {each: round(value, 6) for each, value in found.items() if not math.isnan(value)}


def _runs(totals: Mapping[str, int]) -> int:
    return sum(by for kind, by in totals.items() if kind.startswith("le"))


def _decoded(text: bytes | None, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except msgspec.DecodeError:
        return None
