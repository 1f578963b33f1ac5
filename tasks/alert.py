"""Alerts as chained tasks: evaluate a row, tell people of what changed, remind of what lasts."""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from celery import shared_task

from outrider.alerts import defaults, delivery, dispatch, judge, outbox, ways
from outrider.alerts.engine import Engine
from outrider.store import keys
from outrider.supervisor import crashes
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from outrider.tasks.context import Context

# An alert on a bot is told with the report of its last crash when that is not older.
CRASH_FRESH_S = 900.0
# A message that may go within this is waited for; what must wait longer is sent by a later tick.
RETRY_S = (1.0, 2.0, 5.0, 15.0, 30.0)

# What an engine finds out about a host's series it keeps; one thread at a time.
_evaluating = threading.Lock()


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

    Safe to run twice, late or out of order: every row is judged once, in order, with those that
    came before it; a row that comes after a later one was judged is not judged any more.
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
    with _evaluating:
        changes, kept = judge.judge(ctx.redis, ctx.store, _engine(), host, tick)
    return {"host": host, "tick": tick, "changes": [each.id for each in changes], "new": kept}


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
    _add_crashes(ctx)
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
def _engine() -> Engine:
    return Engine(defaults.of_settings(context.current().settings))


def _add_crashes(ctx: Context) -> None:
    """Put into changes that people are to be told of the report of the crash they may be about."""
    for change in outbox.waiting(ctx.redis):
        kind, _, rest = str(change["instance"]).partition(".")
        if kind != "bot" or change["to"] != "firing" or "crash" in change:
            continue
        stored = cast(
            "bytes | None", ctx.redis.hget(keys.crashes(change["host"]), rest.partition(".")[0])
        )
        report = json.loads(stored) if stored else None
        if report is None or change["at_s"] - report["at_s"] > CRASH_FRESH_S:
            continue
        said = crashes.summary(report)
        outbox.put(
            ctx.redis,
            {**change, "summary": f"{change['summary']} ({said})", "crash": report},
        )
