"""Alerts as chained tasks: evaluate a row, tell people of what changed, remind of what lasts."""

from __future__ import annotations

import functools
import json
import threading
from typing import TYPE_CHECKING, Any, cast

from celery import shared_task

from outrider.alerts import defaults, journal, judge, ways
from outrider.alerts.engine import Engine
from outrider.errors import DeliveryError
from outrider.store import keys
from outrider.supervisor import crashes
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from outrider.alerts.channels.base import Channel
    from outrider.tasks.context import Context

# An outage of a channel longer than this ends in "gave up", which the notification log shows.
GIVE_UP_AFTER_S = 86_400.0
# An alert on a bot is told with the report of its last crash when that is not older.
CRASH_FRESH_S = 900.0
RETRY_S = (1, 2, 5, 15, 30)

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
    if not journal.is_waiting(context.current().redis):
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
    """Tell every channel of what lies in the outbox; what fails is tried again.

    At least once: a change leaves the outbox when each channel took it, so that a worker which dies
    in between leaves it to the next. Safe to run twice: a channel that was told is not told again.
    """
    del evaluated
    ctx = context.current()
    told, failed = 0, 0
    channels = ways.of_settings(ctx.settings)
    for change in journal.outbox(ctx.redis):
        for channel in channels:
            if journal.claim(ctx.redis, change["id"], channel.name):
                done = _deliver(ctx, channel, change)
                told, failed = told + done, failed + (not done)
        journal.settle(ctx.redis, change["id"], {channel.name for channel in channels})
    if failed and self.request.retries < len(RETRY_S):
        raise self.retry(countdown=RETRY_S[self.request.retries])
    return {"told": told, "failed": failed}


@shared_task(name="outrider.alert.escalate", base=OutriderTask, time_limit=30)
def escalate() -> dict[str, Any]:
    """Remind of alerts that fire for longer than ``notify.repeat_s``.

    Safe to run twice: a reminder notes its time, and the next is due only after another interval.
    """
    ctx = context.current()
    now_s, reminded = ctx.clock.now(), []
    for host in ctx.store.hosts():
        for alert in journal.active(ctx.redis, host):
            last_s = max(alert.since_s, alert.reminded_s)
            if alert.state == "firing" and now_s - last_s >= ctx.settings.notify.repeat_s:
                journal.remind(ctx.redis, host, alert, now_s)
                reminded.append(alert.key)
    if reminded:
        notify.delay()
    return {"reminded": reminded}


@functools.cache
def _engine() -> Engine:
    return Engine(defaults.of_settings(context.current().settings))


def _deliver(ctx: Context, channel: Channel, change: dict[str, Any]) -> bool:
    """Deliver once and note the result. Return False when another try may help."""
    now_s = ctx.clock.now()
    try:
        result, done = channel.deliver(_with_crash(ctx, change)), True
    except DeliveryError as error:
        too_old = now_s - change["at_s"] > GIVE_UP_AFTER_S
        done = error.permanent or too_old
        result = f"gave up: {error}" if done else f"failed: {error}"
    journal.told(ctx.redis, change, channel.name, result=result, done=done, at_s=now_s)
    return done


def _with_crash(ctx: Context, change: dict[str, Any]) -> dict[str, Any]:
    """Return a change with the report of the crash that it may be about, as far as one is known."""
    kind, _, rest = change["instance"].partition(".")
    if kind != "bot" or change["to"] != "firing":
        return change
    stored = cast(
        "bytes | None", ctx.redis.hget(keys.crashes(change["host"]), rest.partition(".")[0])
    )
    report = json.loads(stored) if stored else None
    if report is None or change["at_s"] - report["at_s"] > CRASH_FRESH_S:
        return change
    return {**change, "crash": report | {"summary": crashes.summary(report)}}
