"""Housekeeping of stored series: compress hours that are over, roll up, forget what is too old."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from outrider.store import rollups
from outrider.tasks import context
from outrider.tasks.base import OutriderTask


@shared_task(name="outrider.maintain.seal", base=OutriderTask, time_limit=120)
def seal() -> dict[str, Any]:
    """Compress the hours that are over, on every host. Safe to run twice."""
    ctx = context.current()
    now_s = ctx.clock.now()
    summaries = rollups.target(ctx.redis_url, client=ctx.redis)
    sealed = {
        host: ctx.store.seal(host, now_s) + summaries.seal(host, now_s)
        for host in ctx.store.hosts()
    }
    return {"sealed": sealed}


@shared_task(name="outrider.maintain.rollup", base=OutriderTask, time_limit=120)
def rollup() -> dict[str, Any]:
    """Summarise the five minutes that are over, on every host. Safe to run twice."""
    ctx = context.current()
    target = rollups.target(ctx.redis_url, client=ctx.redis)
    now_s = ctx.clock.now()
    hosts = ctx.store.hosts()
    return {"rows": {host: rollups.advance(ctx.store, target, host, now_s) for host in hosts}}


@shared_task(name="outrider.maintain.expire", base=OutriderTask, time_limit=120)
def expire() -> dict[str, Any]:
    """Forget hours beyond the retention, on every host. Safe to run twice."""
    ctx = context.current()
    now_s, summaries = ctx.clock.now(), rollups.target(ctx.redis_url, client=ctx.redis)
    forgotten = {
        host: ctx.store.expire(host, now_s - ctx.settings.retention_s)
        + summaries.expire(host, now_s - rollups.KEPT_S)
        for host in ctx.store.hosts()
    }
    return {"forgotten": forgotten}
