"""Collection: beat starts one fan-out a tick, each live host answers with one row."""

from __future__ import annotations

import functools
import json
import threading
from typing import TYPE_CHECKING, Any, cast

from celery import chain, shared_task, signature

from outrider.cache import report as caches
from outrider.errors import BadArgument, SupervisorUnavailable
from outrider.metrics import celery as celery_metrics
from outrider.metrics import gaps, row
from outrider.slo import keeping, objective
from outrider.store import keys, queues, upkeep
from outrider.supervisor import control
from outrider.tasks import autoscale, context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from outrider.tasks.context import Context

# A host is live while its worker's heartbeat, every two seconds, is younger than this.
HOST_SILENT_AFTER_S = 15.0
# A host that was silent for a day has been taken away; until then its silence is an alert.
HOST_FORGOTTEN_AFTER_S = 86_400.0
FRAME_STALE_AFTER_S = 60.0
_ACTIONS_KEPT = 1000
_CRASHES_KEPT_S = 7 * 86_400


@shared_task(name="outrider.collect.fleet", base=OutriderTask, time_limit=30)
def collect_fleet(tick: int | None = None) -> dict[str, Any]:
    """Start a tick: a chain for each live host, and the row of what no host owns.

    Safe to run twice: rows, reports and transitions carry the tick and are kept once.
    """
    ctx = context.current()
    tick = ctx.tick() if tick is None else tick
    ages = _host_ages(ctx)
    live = [name for name, age_s in ages.items() if age_s < HOST_SILENT_AFTER_S]
    for name in live:
        chain(
            signature(
                "outrider.collect.host",
                kwargs={"host": name, "tick": tick},
                options={"expires": ctx.settings.interval_s},
            ),
            signature("outrider.analyse.host"),
            signature("outrider.alert.evaluate"),
            signature("outrider.alert.notify"),
        ).apply_async()
    stored = ctx.store.append(keys.FLEET, tick, _fleet_values(ctx, ages, tick))
    chain(
        signature("outrider.analyse.fleet", kwargs={"tick": tick}),
        signature("outrider.alert.evaluate"),
        signature("outrider.alert.notify"),
    ).apply_async()
    if live and any(app.scale for app in ctx.settings.celery):
        _order_scaling(ctx, min(live), "pools")  # by one host for all
    return {"tick": tick, "hosts": live, "stored": stored}


@shared_task(name="outrider.collect.host", base=OutriderTask, time_limit=30)
def collect_host(host: str | None = None, tick: int | None = None) -> dict[str, Any]:
    """Measure this host and its bots, and keep one row.

    Safe to run twice: the second row of a tick is not kept. Runs on the host's own queue.

    Raises:
        BadArgument: the task reached another host than it names.
    """
    ctx = context.current()
    if host not in (None, ctx.settings.host):
        raise BadArgument(f"host = {host!r}: this worker is on {ctx.settings.host!r}.")
    tick = ctx.tick() if tick is None else tick
    now_s = ctx.clock.now()
    with _COLLECTING:
        values = _host_row().collect(
            now_s,
            snapshot=functools.cache(lambda: _snapshot(ctx)),
            loose=lambda: _loose_frames(ctx, now_s),
        )
        values |= upkeep.series(ctx.tiers, ctx.sketches)
        stored = ctx.store.append(ctx.settings.host, tick, values)
        _keep_sketches(ctx, tick)
    if autoscale.wanted(ctx):
        _order_scaling(ctx, ctx.settings.host, "bots")
    gaps.fill(
        ctx.redis, ctx.store, ctx.settings.host, interval_s=ctx.settings.interval_s, now_s=now_s
    )
    return {"host": ctx.settings.host, "tick": tick, "series": len(values), "stored": stored}


def _order_scaling(ctx: Context, host: str, what: str) -> None:
    signature(
        "outrider.supervise.autoscale",
        kwargs={"host": host, "what": what},
        options={"expires": ctx.settings.interval_s},
    ).apply_async()


def _keep_sketches(ctx: Context, tick: int) -> None:
    """Store the histograms of this tick's timings; those that were not are in the next tick's."""
    sketches, kept = _host_row().sketches(), False
    try:
        kept = not sketches or ctx.sketches.append(ctx.settings.host, tick, sketches)
    finally:
        if not kept:
            _host_row().give_back(sketches)


# Collectors remember the last sample; two threads of one worker must not share a delta.
_COLLECTING, _COLLECTING_FLEET = threading.Lock(), threading.Lock()


@functools.cache
def _host_row() -> row.HostRow:
    return row.HostRow(context.current().settings)


@functools.cache
def _fleet_row() -> row.FleetRow:
    ctx = context.current()
    return row.FleetRow(ctx.settings, ctx.redis)


@functools.cache
def _budgets() -> keeping.Budgets:
    ctx = context.current()
    return keeping.Budgets(ctx.redis, ctx.tiers, ctx.sketches, objective.of_settings(ctx.settings))


def _snapshot(ctx: Context) -> dict[str, Any] | None:
    """Return the supervisor's word, its news stored; None when there is no supervisor here."""
    seen = cast("bytes | None", ctx.redis.get(keys.actions_seen(ctx.settings.host)))
    since = (seen or b"").decode()
    try:
        snapshot: dict[str, Any] = control.ask(
            ctx.settings.run_dir(), "snapshot", timeout_s=5, since=since
        )
    except SupervisorUnavailable:
        return None
    _keep_events(ctx, snapshot)
    return snapshot


def _loose_frames(ctx: Context, now_s: float) -> list[bytes]:
    """Return the frames of bots that nobody supervises; forget those that went silent."""
    from outrider.metrics import frame as frames

    key = keys.frames(ctx.settings.host)
    fresh = []
    for bot, message in cast("dict[bytes, bytes]", ctx.redis.hgetall(key)).items():
        try:
            stale = frames.decode(message).at_s < now_s - FRAME_STALE_AFTER_S
        except ValueError:
            stale = True
        if stale:
            ctx.redis.hdel(key, bot.decode())
        else:
            fresh.append(message)
    return fresh


def _keep_events(ctx: Context, snapshot: dict[str, Any]) -> None:
    """Store the supervisor's word on its bots, and the events that are new, each once."""
    name = ctx.settings.host
    listed = [entry for entry in snapshot["processes"] if entry["kind"] == "bot"]
    fresh = snapshot["events"]
    with ctx.redis.pipeline(transaction=True) as pipe:
        pipe.set(keys.bots(name), json.dumps(listed), ex=86_400)
        for event in fresh:
            if "report" in event:
                pipe.hset(keys.crashes(name), event["name"], event["report"])
                pipe.expire(keys.crashes(name), _CRASHES_KEPT_S)
            pipe.lpush(keys.ACTIONS, json.dumps({
                "at_s": event["at_s"], "who": event.get("who") or f"supervisor@{name}",
                "what": event["what"], "bot": event["name"], "why": event["detail"],
                "result": event.get("result") or "done",
            }))  # fmt: skip
        if fresh:
            pipe.ltrim(keys.ACTIONS, 0, _ACTIONS_KEPT - 1)
            pipe.set(keys.actions_seen(name), fresh[-1]["id"], ex=86_400)
        pipe.execute()


def _host_ages(ctx: Context) -> dict[str, float]:
    """Return how long ago each host was heard, in seconds."""
    now_s = ctx.clock.now()
    ctx.redis.zremrangebyscore(keys.HOSTS, 0, now_s - HOST_FORGOTTEN_AFTER_S)
    heard = cast("list[tuple[bytes, float]]", ctx.redis.zrange(keys.HOSTS, 0, -1, withscores=True))
    return {name.decode(): now_s - at_s for name, at_s in heard}


def _fleet_values(ctx: Context, ages: dict[str, float], tick: int) -> dict[str, float]:
    names = [*queues.SHARED, *(queues.of_host(name) for name in ages)]
    with _COLLECTING_FLEET:
        return _fleet_row().collect(
            ctx.clock.now(),
            others={
                "slo": lambda: _budgets().advance(tick),
                "hosts": lambda: row.hosts(ages, silent_after_s=HOST_SILENT_AFTER_S),
                "warming": lambda: caches.series(ctx.redis, ctx.clock.now()),
                "celery": lambda: celery_metrics.collect(
                    ctx.redis,
                    names,
                    apps=[app.name for app in ctx.settings.celery],
                    now_s=ctx.clock.now(),
                    interval_s=ctx.settings.interval_s,
                ),
            },
        )
