"""Warming: beat plans what will be asked for, workers load it before it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from celery import shared_task

from outrider.cache import warming
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

# Small enough that several workers share a tick, large enough that messages are few.
BATCH = 20
# A batch that waited longer would load what nobody is about to ask for any more.
BATCH_EXPIRES_S = 60


@shared_task(name="outrider.warm.plan", base=OutriderTask, time_limit=30)
def plan() -> dict[str, Any]:
    """Choose the keys of all namespaces to load before the next plan, and have them loaded.

    Safe to run twice: within a second the second plan is empty, and later a key that was loaded
    already is left alone by ``outrider.warm.run``.
    """
    ctx = context.current()
    warm = ctx.settings.warm
    chosen = warming.plan(
        ctx.redis, now_s=ctx.clock.now(), budget=warm.budget, allowed=warm.loaders
    )
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        run.apply_async(kwargs={"keys": batch}, expires=BATCH_EXPIRES_S)
    return {"planned": len(chosen), "keys": chosen}


@shared_task(name="outrider.warm.run", base=OutriderTask, time_limit=300)
def run(keys: list[tuple[str, str]]) -> dict[str, Any]:
    """Load keys, given as ``[[namespace, key], ...]``, through their loaders.

    Safe to run twice: a key whose value is fresh is left alone.
    """
    ctx = context.current()
    done = warming.run(ctx.redis, keys, allowed=ctx.settings.warm.loaders, clock=ctx.clock)
    return asdict(done)


@shared_task(name="outrider.warm.key", base=OutriderTask, time_limit=120)
def key(namespace: str, key: str) -> dict[str, Any]:
    """Load one key now, fresh or not. Safe to run twice: the newer value replaces the older."""
    ctx = context.current()
    done = warming.run(
        ctx.redis,
        [(namespace, key)],
        allowed=ctx.settings.warm.loaders,
        clock=ctx.clock,
        even_if_fresh=True,
    )
    return asdict(done)
