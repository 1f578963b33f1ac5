"""Housekeeping of stored series: seal and roll up what is over, forget what is too old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import shared_task

from outrider.errors import BadArgument
from outrider.store import upkeep
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.tasks.context import Context

HEALED_S = 6 * 3600.0


@shared_task(name="outrider.maintain.seal", base=OutriderTask, time_limit=upkeep.TIME_LIMIT_S)
def seal() -> dict[str, Any]:
    """Compress what is over and roll it up into five minutes and hours, on every host.

    Safe to run twice and at the same time: a host that another worker is at is left to it.
    """
    ctx = context.current()
    now_s = ctx.clock.now()
    return _on_every_host(ctx, lambda host: upkeep.seal(ctx.tiers, ctx.sketches, host, now_s))


@shared_task(name="outrider.maintain.rollup", base=OutriderTask, time_limit=upkeep.TIME_LIMIT_S)
def rollup(since_s: float = HEALED_S) -> dict[str, Any]:
    """Make roll-ups of the last ``since_s`` seconds that are missing, on every host.

    Sealing makes them already; this mends what a server lost that was set back to an older state,
    and rolls up early. Safe to run twice.
    """
    ctx = context.current()
    if not 0 < since_s <= ctx.settings.retention.raw:
        raise BadArgument(
            f"outrider.maintain.rollup: since_s = {since_s}; expected more than 0 and at most "
            f"retention.raw ({ctx.settings.retention.raw:.0f}): there are no older raw rows."
        )
    now_s = ctx.clock.now()
    return _on_every_host(
        ctx,
        lambda host: upkeep.heal(ctx.tiers, ctx.sketches, host, now_s, since_s=now_s - since_s),
    )


@shared_task(name="outrider.maintain.expire", base=OutriderTask, time_limit=upkeep.TIME_LIMIT_S)
def expire() -> dict[str, Any]:
    """Forget what is older than its tier is kept, on every host. Safe to run twice."""
    ctx = context.current()
    now_s, kept = ctx.clock.now(), ctx.settings.retention
    return _on_every_host(
        ctx, lambda host: upkeep.expire(ctx.tiers, ctx.sketches, kept, host, now_s)
    )


def _on_every_host(ctx: Context, work: Callable[[str], dict[str, int]]) -> dict[str, Any]:
    """Return counts by host, and which hosts another worker is at."""
    done: dict[str, Any] = {}
    busy = []
    for host in upkeep.hosts(ctx.tiers):
        with upkeep.locked(ctx.redis, host) as ours:
            if ours:
                done[host] = work(host)
            else:
                busy.append(host)
    return {"hosts": done, "busy": busy}
