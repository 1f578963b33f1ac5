"""Analysis: turns the newest rows of a host into a report, kept under a documented key."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from celery import shared_task

from outrider.analysis import beginnings, compare, findings, graph, outlook, report, state
from outrider.clock import tick_at, tick_start
from outrider.store import keys, rows
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from outrider.analysis.beginnings import Annotation
    from outrider.analysis.limits import Past
    from outrider.analysis.state import HostState
    from outrider.samples import Window
    from outrider.tasks.context import Context

# What the newest tick is compared with: ten minutes at the default interval.
COMPARED_TICKS = 60
REPORT_TTL_S = 86_400
# How far back the outlook looks: rows, and before them summaries.
ROWS_S, SUMMARIES_S = 6 * 3600.0, 7 * 86_400.0

# A worker that analysed a host's last tick need not read the state again. One thread at a time:
# estimators change in place.
_held: dict[str, HostState] = {}
_learning = threading.Lock()


@shared_task(name="outrider.analyse.host", base=OutriderTask, time_limit=30)
def analyse_host(
    collected: dict[str, Any] | None = None, *, host: str | None = None, tick: int | None = None
) -> dict[str, Any]:
    """Report on a host at a tick; takes what ``outrider.collect.host`` returned, or names.

    Safe to run twice: a tick is learned once, and its report never replaces a newer one.
    """
    ctx = context.current()
    host = host or (collected or {}).get("host") or ctx.settings.host
    tick = (collected or {}).get("tick") if tick is None else tick
    return _analyse(host, ctx.tick() if tick is None else int(tick))


@shared_task(name="outrider.analyse.fleet", base=OutriderTask, time_limit=30)
def analyse_fleet(tick: int | None = None) -> dict[str, Any]:
    """Report on what belongs to no single host: Redis, queues, the database, silent hosts.

    Safe to run twice, as ``outrider.analyse.host``.
    """
    ctx = context.current()
    return _analyse(keys.FLEET, ctx.tick() if tick is None else tick)


@shared_task(name="outrider.analyse.baseline", base=OutriderTask, time_limit=120)
def analyse_baseline(host: str | None = None) -> dict[str, Any]:
    """Write what is normal for every series of every host, or of one, and what lies ahead.

    The heavy part of the analysis: when limits are met, and forecasts. Safe to run twice: what it
    writes replaces what it wrote before.
    """
    ctx = context.current()
    now_s = ctx.clock.now()
    learned = {}
    for name in [host] if host else ctx.store.hosts():
        window = ctx.store.window(name, now_s - ROWS_S, now_s + 1)
        normal = compare.compare(
            state.load(ctx.redis, name), rows.where(window, np.arange(len(window.times_s))[-3:])
        )
        kept = {"at_s": now_s, "series": {each.series: _without_name(each) for each in normal}}
        found = outlook.look(
            rows.last_of(window) if len(window.times_s) else {},
            _past(ctx, name, window, now_s),
            now_s=now_s,
            memory_limits=_memory_limits(ctx),
        )
        with ctx.redis.pipeline(transaction=True) as pipe:
            pipe.set(keys.baseline(name), msgspec.json.encode(kept), ex=REPORT_TTL_S)
            pipe.set(keys.outlook(name), msgspec.json.encode(found), ex=REPORT_TTL_S)
            pipe.execute()
        learned[name] = len(normal)
    return {"learned": learned}


def _analyse(host: str, tick: int) -> dict[str, Any]:
    ctx = context.current()
    interval_s = ctx.store.interval_s
    end_s = tick_start(tick + 1, interval_s)
    window = ctx.store.window(host, end_s - (COMPARED_TICKS + 1) * interval_s, end_s)
    if not len(window.times_s):
        return {"host": host, "tick": tick, "state": "no data"}
    with _learning:
        return _learn(ctx, host, tick, window)


def _learn(ctx: Context, host: str, tick: int, window: Window) -> dict[str, Any]:
    key = keys.report(host)
    with ctx.redis.pipeline(transaction=False) as pipe:
        pipe.hget(keys.analysis(host), "tick")
        pipe.get(keys.outlook(host))
        pipe.get(key)
        stored_tick, ahead, newest = cast("list[bytes | None]", pipe.execute())
    before = _newer(newest, tick)
    if before:  # delivered late or again: what is known now stands
        return {"host": host, "tick": tick, "state": before["state"], "verdict": before["verdict"]}
    stored = int(stored_tick or -1)
    kept = _held.get(host)
    if kept is None or not stored <= kept.tick <= tick:
        kept = state.load(ctx.redis, host)
    noted = beginnings.read(ctx.redis, host)
    _catch_up(ctx, host, kept, until_s=float(window.times_s[0]), noted=noted)
    built, found = report.build(
        window, host=host, tick=tick, interval_s=ctx.store.interval_s, state=kept,
        annotations=noted, outlook=outlook.loads(ahead),
        fleet=None if host == keys.FLEET else _fleet_window(ctx, window),
        needs=graph.needs_of(ctx.settings.bots),
    )  # fmt: skip
    _held[host] = kept
    findings.keep(ctx.redis, host, found, now_s=built["at_s"])
    # At once where something was told: whoever goes on must not tell it again.
    if kept.is_due(stored) or any(each["kind"] == "anomaly" for each in found):
        state.save(ctx.redis, host, kept)
    ctx.redis.set(key, json.dumps(built), ex=REPORT_TTL_S)
    return {"host": host, "tick": tick, "state": built["state"], "verdict": built["verdict"]}


def _catch_up(
    ctx: Context, host: str, kept: HostState, *, until_s: float, noted: list[Annotation]
) -> None:
    """Learn what came between a state that was loaded and the window; another worker found it."""
    interval_s = ctx.store.interval_s
    first = max(kept.tick + 1, tick_at(until_s, interval_s) - state.MOST_BEHIND_TICKS)
    first_s = tick_start(first, interval_s)
    if kept.tick >= 0 and first_s < until_s:
        kept.learn(ctx.store.window(host, first_s, until_s), noted, interval_s=interval_s)


def _newer(raw: bytes | None, tick: int) -> dict[str, Any] | None:
    """Return the report that is there when it is of a later tick."""
    try:
        found: Any = json.loads(raw) if raw else None
        newer = isinstance(found, dict) and found["tick"] > tick
    except (ValueError, KeyError, TypeError):
        return None  # damaged, or of another version: it is replaced
    return found if newer and {"state", "verdict"} <= found.keys() else None


def _fleet_window(ctx: Context, window: Window) -> Window:
    """Return what no host owns, at the ticks of a host's window."""
    first_s, last_s = float(window.times_s[0]), float(window.times_s[-1])
    return ctx.store.window(keys.FLEET, first_s, last_s + ctx.store.interval_s)


def _past(ctx: Context, host: str, window: Window, now_s: float) -> Past:
    """Return a function for the past of a series: summaries of a week, then rows."""
    long_ago = ctx.tiers.five_minutes.window(host, now_s - SUMMARIES_S, now_s - ROWS_S)

    def past(series: str) -> tuple[Any, Any]:
        older_s, older = rows.series_of(long_ago, f"{series}|last")
        newer_s, newer = rows.series_of(window, series)
        return np.concatenate([older_s, newer_s]), np.concatenate([older, newer])

    return past


def _memory_limits(ctx: Context) -> dict[str, int]:
    limits = {name: bot.limits.memory for name, bot in ctx.settings.bots.items()}
    return {name: limit for name, limit in limits.items() if limit}


def _without_name(found: compare.Comparison) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(found).items() if key != "series"}
