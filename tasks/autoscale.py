"""Scaling by load: after each tick a host's bots, and once a fleet the pools of Celery workers.

A decision is carried out through the supervisor's own order, or the workers' remote control, and
recorded with its reason; a dry run is recorded only. The newest decisions of all targets are kept
under a documented key, for ``outrider bots scale --explain``.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from celery import shared_task

from outrider.errors import BadArgument, OutriderError, SupervisorUnavailable
from outrider.settings import instance_names
from outrider.store import keys, rows
from outrider.supervisor import control, load
from outrider.supervisor.autoscale import PAST_S, Target
from outrider.tasks import context, pools
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from outrider.samples import Window
    from outrider.settings import BotSettings, CeleryAppSettings
    from outrider.supervisor.autoscale import Decision
    from outrider.supervisor.load import Load
    from outrider.tasks.context import Context

WHO = "autoscaler"
KEPT_S = 86_400
_ACTIONS_KEPT = 1000
# Rows read at a tick: enough for what is smoothed over some minutes.
_LIVE_TICKS = 60
_LIMIT_S = 120

# One at a time: scalers learn in place, and two orders at once would undo each other.
_targets: dict[str, Target] = {}
_scaling = threading.Lock()


@shared_task(name="outrider.supervise.autoscale", base=OutriderTask, time_limit=_LIMIT_S)
def autoscale(host: str | None = None, what: Literal["bots", "pools"] = "bots") -> dict[str, Any]:
    """Let the bots of this host, or the pools of Celery applications, follow their load.

    Safe to run twice: a row is learned once, and an order says how many, not how many more.
    """
    ctx = context.current()
    if host not in (None, ctx.settings.host):
        raise BadArgument(f"host = {host!r}: this worker is on {ctx.settings.host!r}.")
    with _scaling:
        decided = _bots(ctx) if what == "bots" else _pools(ctx)
    return {"host": ctx.settings.host, "decided": [asdict(each) for each in decided]}


def wanted(ctx: Context) -> bool:
    """Tell whether a bot of this host scales."""
    return any(bot.scale for bot in ctx.settings.bots.values())


def _bots(ctx: Context) -> list[Decision]:
    scaled = {name: bot for name, bot in ctx.settings.bots.items() if bot.scale}
    if not scaled:
        return []
    try:
        snapshot = control.ask(ctx.settings.run_dir(), "snapshot", timeout_s=5)
    except SupervisorUnavailable:
        return []  # nobody to give orders to; it is an alert of its own
    live = _live(ctx)
    decided = []
    for name, bot in scaled.items():
        there = [p for p in snapshot["processes"] if p["bot"] == name and p["kind"] == "bot"]
        stopped = bool(there) and all(p["state"] in ("stopped", "failed") for p in there)
        if stopped:
            continue  # a person stopped it, or it gave up: neither is for us to undo
        running = len(there)
        decision = _of_bot(ctx, name, bot, live, running)
        if decision:
            decided.append(decision)
            _carry_out(ctx, decision, lambda asked: control.ask(
                ctx.settings.run_dir(), "scale", timeout_s=_LIMIT_S - 20,
                bot=asked.bot, instances=asked.wanted, who=WHO, why=asked.reason,
            ))  # fmt: skip
    return decided


def _of_bot(
    ctx: Context, name: str, bot: BotSettings, live: tuple[Window, Window], running: int
) -> Decision | None:
    scale = bot.scale
    assert scale is not None
    instances = instance_names(name, max(scale.max, running))
    window, fleet = live
    target = _targets.get(name)
    if target is None:
        target = _targets[name] = Target(name, scale)
        target.decide(
            _past(ctx, load.names_of_bot(instances, scale), lambda host, of_fleet: load.of_bot(
                instances, scale, host, of_fleet, cores=bot.limits.cpu
            ))
        )  # fmt: skip
    now = load.of_bot(instances, scale, window, fleet, cores=bot.limits.cpu)
    busy = rows.last_of(window).get("host.cpu.used_ratio", 0.0) if len(window.times_s) else 0.0
    return target.decide(now, replicas=running, host_busy=busy)


def _pools(ctx: Context) -> list[Decision]:
    decided = []
    for app in ctx.settings.celery:
        if app.scale is None:
            continue
        target = _targets.setdefault(f"celery:{app.name}", Target(f"celery:{app.name}", app.scale))
        decision = target.decide(load.of_celery(app.name, _live(ctx)[1]))
        if decision:
            decided.append(decision)
            _carry_out(ctx, decision, _resize(app))
    return decided


def _resize(app: CeleryAppSettings) -> Callable[[Decision], object]:
    return lambda decision: pools.resize(app, decision.wanted)


def _live(ctx: Context) -> tuple[Window, Window]:
    end_s = ctx.clock.now() + 1
    start_s = end_s - _LIVE_TICKS * ctx.store.interval_s
    host = ctx.store.window(ctx.settings.host, start_s, end_s)
    return host, ctx.store.window(keys.FLEET, start_s, end_s)


def _past(ctx: Context, names: Iterable[str], made: Callable[[Window, Window], Load]) -> Load:
    """Return the load of the last days from the few series that tell of it."""
    now_s = ctx.clock.now()
    start_s, end_s = now_s - PAST_S, now_s - _LIVE_TICKS / 2 * ctx.store.interval_s
    names = sorted(names)
    return made(
        *(
            rows.side_by_side({name: ctx.store.read(host, name, start_s, end_s) for name in names})
            for host in (ctx.settings.host, keys.FLEET)
        )
    )


def _carry_out(ctx: Context, decision: Decision, act: Callable[[Decision], object]) -> None:
    """Give the order when there is one to give, and keep what was decided and what came of it."""
    result = "nothing to do"
    if decision.wanted != decision.replicas:
        result = "dry run: not done"
        if not decision.dry_run:
            try:
                act(decision)
                result = "done"
            except OutriderError as error:
                result = f"failed: {error}"
    plain = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(decision).items()
    }
    with ctx.redis.pipeline(transaction=True) as pipe:
        key = keys.scaling(ctx.settings.host)
        pipe.hset(key, decision.bot, json.dumps(plain | {"result": result}))
        pipe.expire(key, KEPT_S)
        if decision.wanted != decision.replicas:
            pipe.lpush(keys.ACTIONS, json.dumps({
                "at_s": ctx.clock.now(), "who": f"{WHO}@{ctx.settings.host}", "what": "scale",
                "bot": decision.bot, "why": decision.reason, "result": result,
            }))  # fmt: skip
            pipe.ltrim(keys.ACTIONS, 0, _ACTIONS_KEPT - 1)
        pipe.execute()
