"""Alerts as chained tasks: evaluate a row, tell people of what changed, remind of what lasts."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celery import shared_task

from outrider.alerts import defaults, delivery, dispatch, journal, rules, state, ways
from outrider.clock import tick_start
from outrider.store import rows
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.samples import Values, Window
    from outrider.tasks.context import Context

# A message that may go within this is waited for; what must wait longer is sent by a later tick.
RETRY_S = (1.0, 2.0, 5.0, 15.0, 30.0)


@shared_task(name="outrider.alert.evaluate", base=OutriderTask, bind=True, time_limit=30)
def evaluate(
    self: OutriderTask,
    analysed: dict[str, Any] | None = None,
    *,
    host: str | None = None,
    tick: int | None = None,
) -> dict[str, Any]:
    """Apply every rule to a host's row of a tick, and keep what changed.

    The chain ends here when nobody is to be told of anything: that spares a message each tick.

    Safe to run twice, late or out of order: only the first outcome of the newest tick counts.
    """
    outcome = _evaluate(analysed, host, tick)
    ctx = context.current()
    if not dispatch.is_due(ctx.redis, ctx.settings, ctx.clock.now()):
        self.request.chain = None
    return outcome


def _evaluate(
    analysed: dict[str, Any] | None, host: str | None, tick: int | None
) -> dict[str, Any]:
    ctx = context.current()
    host = host or (analysed or {}).get("host") or ctx.settings.host
    tick = (analysed or {}).get("tick") if tick is None else tick
    tick = ctx.tick() if tick is None else int(tick)
    at_s = tick_start(tick, ctx.store.interval_s)
    last_tick, alerts = journal.load(ctx.redis, host)
    window = ctx.store.window(host, at_s, at_s + ctx.store.interval_s)
    if last_tick >= tick or not len(window.times_s):
        return {"host": host, "tick": tick, "changes": [], "new": False}
    values = dict(zip(window.names, window.values[0].tolist(), strict=True))
    after, changes = state.evaluate(
        _rules(), alerts, values,
        host=host, tick=tick, at_s=at_s, increase=_increase(ctx, host, values, at_s),
    )  # fmt: skip
    kept = journal.commit(ctx.redis, host, tick, after.values(), changes)
    listed = [change.id for change in changes] if kept else []
    return {"host": host, "tick": tick, "changes": listed, "new": kept}


@shared_task(
    name="outrider.alert.notify", base=OutriderTask, bind=True,
    time_limit=60, max_retries=len(RETRY_S),
)  # fmt: skip
def notify(self: OutriderTask, evaluated: dict[str, Any] | None = None) -> dict[str, Any]:
    """Tell people of what changed, by every channel; what fails is tried again.

    At least once: a message waits until its channel took it, so that a worker which dies in between
    leaves it to the next. Safe to run twice: each step is done once, by whoever comes first.
    """
    del evaluated
    ctx = context.current()
    channels = ways.of_settings(ctx.settings)
    outcome = dispatch.run(ctx.redis, ctx.settings, ctx.clock, channels, ctx.store.hosts())
    if self.request.retries < len(RETRY_S):
        next_s = delivery.next_s(ctx.redis, channels, ctx.clock.now())
        wait_s = RETRY_S[self.request.retries]
        if next_s is not None and next_s - ctx.clock.now() <= wait_s:
            raise self.retry(countdown=max(0.5, next_s - ctx.clock.now()))
    return asdict(outcome)


@shared_task(name="outrider.alert.escalate", base=OutriderTask, time_limit=60)
def escalate() -> dict[str, Any]:
    """Remind of what lasts, call in who is next, and mend what groups and states disagree on.

    Safe to run twice: what was told notes its time; the next is due only after another interval.
    """
    ctx = context.current()
    hosts = ctx.store.hosts()
    mended = dispatch.reconcile(ctx.redis, ctx.settings, hosts, ctx.clock.now())
    channels = ways.of_settings(ctx.settings)
    outcome = dispatch.run(ctx.redis, ctx.settings, ctx.clock, channels, hosts)
    return {"mended": mended, **asdict(outcome)}


@functools.cache
def _rules() -> list[rules.Rule]:
    return defaults.of_settings(context.current().settings)


def _increase(
    ctx: Context, host: str, values: Values, at_s: float
) -> Callable[[str, float], float | None]:
    """Return a function for how much a counter grew; each window is read once for all rules."""

    @functools.cache
    def before(window_s: float) -> Window:
        return ctx.store.window(host, at_s - max(window_s, ctx.store.interval_s), at_s)

    def increase(series: str, window_s: float) -> float | None:
        _, earlier = rows.series_of(before(window_s), series)
        if not len(earlier):
            return None
        # A counter that falls was restarted: what it has then is growth since the restart.
        total, last = 0.0, float(earlier[0])
        for value in (*earlier[1:].tolist(), values[series]):
            total += value - last if value >= last else value
            last = value
        return total

    return increase
