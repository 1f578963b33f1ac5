"""Warming: what will be asked for is planned, and loaded at its moment, just before it is."""

from __future__ import annotations

import functools
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from celery import shared_task

from outrider import errors
from outrider.cache import asking, warming
from outrider.cache.agenda import Agenda
from outrider.channel import problems
from outrider.supervisor import control
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from outrider.cache.agenda import Due
    from outrider.clock import Clock

# Small enough that several workers share a moment, large enough that messages are few.
BATCH = 20
# Keys due within this are loaded together, at the first one's time.
MOMENT_S = 0.5
# A batch that waited longer would load what nobody is about to ask for any more.
BATCH_EXPIRES_S = 60


@functools.cache
def _agenda() -> Agenda:
    """Return this process's planners; another process's read the same log."""
    return Agenda()


@shared_task(name="outrider.warm.plan", base=OutriderTask, time_limit=30)
def plan(every_s: float = 10.0) -> dict[str, Any]:
    """Decide what is to be loaded when until the next plan, and have it loaded at those times.

    ``every_s`` is how often beat sends this.

    Safe to run twice: within half a second the second plan is empty, and later a key that was
    loaded already is left alone by ``outrider.warm.run``. Where values live shortly it sends for
    the next plan itself, sooner than beat would; never for two.
    """
    ctx = context.current()
    warm = ctx.settings.warm
    can_ask = control.answers(ctx.settings.run_dir())
    planned = warming.plan(
        ctx.redis,
        _agenda(),
        now_s=ctx.clock.now(),
        every_s=every_s,
        budget_of=warm.budget_of,
        allowed=warm.loaders,
        can_ask=can_ask,
    )
    to_ask = planned.by_bots if can_ask else []
    for batch in _batches(planned.by_workers) + _batches(to_ask):
        in_s = max(0.0, batch[0].at_s - ctx.clock.now())
        run.apply_async(
            kwargs={
                "keys": [(due.namespace, due.key) for due in batch],
                "deadline_s": batch[-1].at_s + BATCH_EXPIRES_S,
            },
            countdown=in_s,
            expires=in_s + BATCH_EXPIRES_S,
        )
    if planned.next_s is not None and warming.out_of_turn(ctx.redis, planned.next_s):
        plan.apply_async(
            kwargs={"every_s": every_s},
            countdown=planned.next_s,
            expires=planned.next_s + BATCH_EXPIRES_S,
        )
    return {
        "planned": len(planned.by_workers),
        "asked_of_bots": len(to_ask),
        "left_to_bots": len(planned.by_bots) - len(to_ask),
        "keys": [(due.namespace, due.key) for due in planned.by_workers],
    }


@shared_task(name="outrider.warm.run", base=OutriderTask, time_limit=300)
def run(keys: list[tuple[str, str]], deadline_s: float | None = None) -> dict[str, Any]:
    """Load keys, given as ``[[namespace, key], ...]``, through their loaders.

    Bots whose loaders may not run here are asked over their channel to run them; where that does
    not reach them, the keys are left in Redis, where they look themselves.

    Safe to run twice: a key whose value is fresh, or being loaded, is left alone. What is not begun
    before ``deadline_s`` is left.
    """
    ctx = context.current()
    done = warming.run(
        ctx.redis,
        keys,
        allowed=ctx.settings.warm.loaders,
        clock=ctx.clock,
        deadline_s=deadline_s,
        ask=_ask(ctx.settings.run_dir(), ctx.clock),
    )
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
        ask=_ask(ctx.settings.run_dir(), ctx.clock),
    )
    return asdict(done)


def _ask(run_dir: Path, clock: Clock) -> asking.Ask:
    """Return how to ask the bots of this host: all at once, through its supervisor."""

    def ask(wanted: Sequence[tuple[str, asking.Request]]) -> list[asking.Answer]:
        now_s = clock.now()
        requests = [
            {
                "name": asking.SERVED,
                "instance": instance,
                "body": msgspec.to_builtins(request),
                "within_s": max(0.1, request.deadline_s - now_s),
                "idempotent": True,
            }
            for instance, request in wanted
        ]
        longest_s = max(request["within_s"] for request in requests)
        try:
            said = control.ask(run_dir, "request", timeout_s=longest_s + 1, requests=requests)
        except errors.SupervisorUnavailable:
            said = [{"problem": problems.REFUSED, "text": ""}] * len(requests)
        return [_answer(one) for one in said]

    return ask


def _answer(said: dict[str, Any]) -> asking.Answer:
    problem = said.get("problem")
    if problem is None:
        return msgspec.convert(said["answer"], asking.Answer)
    if problem in (problems.REFUSED, problems.LOST):
        return asking.Answer("nobody")
    if problem == problems.LATE:
        return asking.Answer("late")
    return asking.Answer("failed", error=str(said["text"]))


def _batches(due: list[Due]) -> list[list[Due]]:
    """Return what is due in batches of one moment each."""
    found: list[list[Due]] = []
    ordered = sorted(due, key=lambda one: one.at_s)
    for _, moment in groupby(ordered, key=lambda one: one.at_s // MOMENT_S):
        together = list(moment)
        found += [together[at : at + BATCH] for at in range(0, len(together), BATCH)]
    return found
