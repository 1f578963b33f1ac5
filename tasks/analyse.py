"""Analysis: turns the newest rows of a host into a report, kept under a documented key."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from celery import shared_task

from outrider.analysis import baseline, report
from outrider.clock import tick_start
from outrider.store import keys
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

# What the newest tick is compared with: ten minutes at the default interval.
COMPARED_TICKS = 60
REPORT_TTL_S = 86_400
BASELINE_OVER_S = 6 * 3600.0


@shared_task(name="outrider.analyse.host", base=OutriderTask, time_limit=30)
def analyse_host(
    collected: dict[str, Any] | None = None, *, host: str | None = None, tick: int | None = None
) -> dict[str, Any]:
    """Report on a host at a tick; takes what ``outrider.collect.host`` returned, or names.

    Safe to run twice: the report of a tick replaces itself, and never a newer one.
    """
    ctx = context.current()
    host = host or (collected or {}).get("host") or ctx.settings.host
    tick = (collected or {}).get("tick") if tick is None else tick
    return _analyse(host, ctx.tick() if tick is None else int(tick))


@shared_task(name="outrider.analyse.fleet", base=OutriderTask, time_limit=30)
def analyse_fleet(tick: int | None = None) -> dict[str, Any]:
    """Report on what belongs to no single host: Redis, queues, the database, silent hosts."""
    ctx = context.current()
    return _analyse(keys.FLEET, ctx.tick() if tick is None else tick)


@shared_task(name="outrider.analyse.baseline", base=OutriderTask, time_limit=60)
def analyse_baseline(host: str | None = None) -> dict[str, Any]:
    """Learn what is normal for every series of every host, or of one, over the last six hours.

    Safe to run twice: a baseline replaces the one before.
    """
    ctx = context.current()
    now_s = ctx.clock.now()
    learned = {}
    for name in [host] if host else ctx.store.hosts():
        normal = baseline.of_window(ctx.store.window(name, now_s - BASELINE_OVER_S, now_s + 1))
        stored = {"at_s": now_s, "series": {key: asdict(value) for key, value in normal.items()}}
        ctx.redis.set(keys.baseline(name), json.dumps(stored), ex=REPORT_TTL_S)
        learned[name] = len(normal)
    return {"learned": learned}


def _analyse(host: str, tick: int) -> dict[str, Any]:
    ctx = context.current()
    interval_s = ctx.store.interval_s
    end_s = tick_start(tick + 1, interval_s)
    window = ctx.store.window(host, end_s - (COMPARED_TICKS + 1) * interval_s, end_s)
    if not len(window.times_s):
        return {"host": host, "tick": tick, "state": "no data"}
    built = report.build(window, host=host, tick=tick)
    ctx.redis.set(keys.report(host), json.dumps(built), ex=REPORT_TTL_S)
    return {"host": host, "tick": tick, "state": built["state"], "verdict": built["verdict"]}
