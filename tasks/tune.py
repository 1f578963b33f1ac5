"""Tuning: what the database, the caches and the bots' limits should be, kept as reports.

Nothing is changed here but a setting of the database server that somebody asked for by name. Each
report replaces the one before and says when it was made.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celery import shared_task

from outrider.analysis import sizing
from outrider.cache import advice, figures
from outrider.cache import report as caches
from outrider.database import advising, planning
from outrider.database import report as database
from outrider.store import keys
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from outrider.tasks.context import Context

# A week: the calmest profile tunes daily, and an old report is better than none.
REPORT_TTL_S = 7 * 86_400
# Long enough to hold a bot's busy hours, short enough to follow a new release within the day.
RECENT_S = 6 * 3600.0


@shared_task(name="outrider.tune.database", base=OutriderTask, time_limit=600)
def tune_database(  # noqa: PLR0917 - named by whoever sends them
    apply: str | None = None,
    role: str | None = None,
    by: str = "outrider.tune.database",
    accept_loss: bool = False,  # noqa: FBT001, FBT002 - arguments of a task are named
    undo: bool = False,  # noqa: FBT001, FBT002
    measure: bool = False,  # noqa: FBT001, FBT002
) -> dict[str, Any]:
    """Report on preset, plan, risks, statements, indexes, blocks and the server's settings.

    With ``apply`` (a setting's name) it also tries that one, sets it if it gains, watches two
    windows and takes it back if things got worse; with ``undo`` it takes back the newest change.
    ``synchronous_commit`` asks for ``role`` and ``accept_loss``. ``measure`` tries each setting.
    Safe to run twice: one change is in flight at a time, and what is set already is not advised.
    """
    ctx = context.current()
    done = _server(ctx, apply, role, by, accept_loss=accept_loss, undo=undo)
    return _database(ctx, measure=measure) | done


@shared_task(name="outrider.tune.pools", base=OutriderTask, time_limit=30)
def tune_pools() -> dict[str, Any]:
    """Free what dead processes had of the database's connections; plan anew once a minute.

    Safe to run twice: who holds what is asked from the server each time, and a plan replaces the
    one before.
    """
    ctx = context.current()
    now_s = ctx.clock.now()
    return planning.tick(
        ctx.settings,
        ctx.redis,
        lambda: [
            ctx.store.window(host, now_s - planning.RECENT_S, now_s + 1)
            for host in ctx.store.hosts()
        ],
        now_s=now_s,
    )


@shared_task(name="outrider.tune.cache", base=OutriderTask, time_limit=60)
def tune_cache() -> dict[str, Any]:
    """Report how well each cache does its work. Safe to run twice: it only asks."""
    return _cache(context.current())


@shared_task(name="outrider.tune.process", base=OutriderTask, time_limit=60)
def tune_process(recent_s: float = RECENT_S) -> dict[str, Any]:
    """Compare what bots used of late with their limits. Safe to run twice: it only asks."""
    return _process(context.current(), recent_s)


@shared_task(name="outrider.tune.all", base=OutriderTask, time_limit=180)
def tune_all() -> dict[str, Any]:
    """Make the three reports one after the other. Safe to run twice: each replaces itself."""
    ctx = context.current()
    return {"database": _database(ctx), "cache": _cache(ctx), "process": _process(ctx, RECENT_S)}


def _database(ctx: Context, *, measure: bool = False) -> dict[str, Any]:
    now_s = ctx.clock.now()
    advice = advising.report(ctx.settings.database, ctx.redis, now_s, measure=measure)
    return _keep(
        ctx, "database", database.build(ctx.settings, ctx.redis, now_s=now_s) | {"advice": advice}
    )


def _server(
    ctx: Context, name: str | None, role: str | None, by: str, *, accept_loss: bool, undo: bool
) -> dict[str, Any]:
    settings = ctx.settings.database
    if undo:
        return {"change": asdict(advising.undo(settings, ctx.redis, name, role))}
    if name is None:
        return {}
    change = advising.apply_one(
        settings, ctx.redis, name, by=by, role=role, accept_loss=accept_loss
    )
    return {"change": asdict(change)}


def _cache(ctx: Context) -> dict[str, Any]:
    now_s = ctx.clock.now()
    windows = [
        ctx.store.window(host, now_s - figures.RECENT_S, now_s + 1) for host in ctx.store.hosts()
    ]
    rows = caches.full(ctx.redis, windows, now_s=now_s)
    advised = [asdict(each) for each in advice.of(rows)]
    return _keep(ctx, "cache", {"caches": rows, "recommendations": advised})


def _process(ctx: Context, recent_s: float) -> dict[str, Any]:
    now_s = ctx.clock.now()
    hosts = ctx.store.hosts()
    windows = [ctx.store.window(host, now_s - recent_s, now_s + 1) for host in hosts]
    found = sizing.suggest(ctx.settings.bots, windows)
    suggestions = [asdict(suggestion) for suggestion in found]
    return _keep(ctx, "process", {"recent_s": recent_s, "suggestions": suggestions})


def _keep(ctx: Context, what: str, report: dict[str, Any]) -> dict[str, Any]:
    stamped = {"what": what, "at_s": ctx.clock.now(), **report}
    ctx.redis.set(keys.tuning(what), json.dumps(stamped), ex=REPORT_TTL_S)
    return stamped
