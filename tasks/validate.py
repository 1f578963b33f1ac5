"""Validation as tasks: the running stack against its targets, on the host that is asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from celery import current_app, shared_task

from outrider.tasks import context
from outrider.tasks.base import OutriderTask
from outrider.validation import report, runner
from outrider.validation.env import Env

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# A host that no fleet has: its analysis looks into the store, finds no row, and changes nothing.
NOBODY = "outrider-validation"
# What no worker took until then is not worth doing; the validation has counted it as lost.
EXPIRES_S = 10.0
_ENDED = {"SUCCESS": True, "FAILURE": False, "REVOKED": False}


@shared_task(name="outrider.validate.run", base=OutriderTask, time_limit=300)
def run(phases: list[str] | None = None) -> dict[str, Any]:
    """Run phases in order, all by default; keep the report and return its summary.

    Safe to run twice: each run is a report of its own, and removes what it made.
    """
    return _validate(phases)


@shared_task(name="outrider.validate.phase", base=OutriderTask, time_limit=300)
def phase(name: str) -> dict[str, Any]:
    """Run one phase; keep the report and return its summary. Safe to run twice, as ``run`` is."""
    return _validate([name])


class Probes:
    """Sends tasks that only read, for :class:`outrider.validation.env.Env`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def send(self) -> str:
        """Send an analysis of nobody."""
        sent = self._app.send_task(
            "outrider.analyse.host", kwargs={"host": NOBODY, "tick": 0}, expires=EXPIRES_S
        )
        return str(sent.id)

    def finished(self, ids: Collection[str]) -> dict[str, bool]:
        """Return those that ended. One round trip: asking for each would slow what is measured."""
        backend, asked = self._app.backend, list(ids)
        stored = backend.mget([backend.get_key_for_task(task_id) for task_id in asked])
        states = {
            task_id: backend.decode_result(found)["status"]
            for task_id, found in zip(asked, stored, strict=True)
            if found
        }
        return {task_id: _ENDED[state] for task_id, state in states.items() if state in _ENDED}

    def forget(self, ids: Collection[str]) -> None:
        """Remove the results; those that Redis does not let go now expire within the hour."""
        with contextlib.suppress(redis.RedisError):
            for task_id in ids:
                self._app.AsyncResult(task_id).forget()


def _validate(names: Sequence[str] | None) -> dict[str, Any]:
    ctx = context.current()
    env = Env(ctx.settings, ctx.redis_url, ctx.redis, ctx.store, Probes(current_app), ctx.clock)
    done = runner.run(env, names)
    report.file(ctx.settings.data_dir, done)
    report.keep(ctx.redis, done)
    return report.summary(done)
