"""Orders to the supervisor of a host, for people, Flower, and other supervisors.

Each is passed on over the supervisor's own socket, runs on the host's queue, and is recorded there
with who and why. ``bot`` is a bot's name, one instance's, or ``all``.
"""

from __future__ import annotations

from typing import Any

from celery import current_task, shared_task

from outrider.errors import BadArgument
from outrider.supervisor import control
from outrider.tasks import context
from outrider.tasks.base import OutriderTask

_LIMIT_S = 120


def _order(do: str, host: str | None, **fields: Any) -> dict[str, Any]:
    ctx = context.current()
    if host not in (None, ctx.settings.host):
        raise BadArgument(f"host = {host!r}: this worker is on {ctx.settings.host!r}.")
    if "who" in fields:
        fields["who"] = _caller(fields["who"])
    result = control.ask(ctx.settings.run_dir(), do, timeout_s=_LIMIT_S - 10, **fields)
    return {"host": ctx.settings.host, "bots": result}


def _caller(who: str) -> str:
    """Return who asks, with what the message says of where it came from, for the record."""
    request = getattr(current_task, "request", None)
    task_id, origin = getattr(request, "id", None), getattr(request, "origin", None)
    if task_id is None:
        return who
    return f"{who} (task {task_id} from {origin or 'unknown'})"


@shared_task(name="outrider.supervise.start", base=OutriderTask, time_limit=_LIMIT_S)
def start(bot: str, host: str | None = None, who: str = "task", why: str = "") -> dict[str, Any]:
    """Start a bot. Safe to run twice: one that runs is left alone."""
    return _order("start", host, bot=bot, who=who, why=why)


@shared_task(name="outrider.supervise.stop", base=OutriderTask, time_limit=_LIMIT_S)
def stop(bot: str, host: str | None = None, who: str = "task", why: str = "") -> dict[str, Any]:
    """Stop a bot gracefully. Safe to run twice."""
    return _order("stop", host, bot=bot, who=who, why=why)


@shared_task(name="outrider.supervise.restart", base=OutriderTask, time_limit=_LIMIT_S)
def restart(bot: str, host: str | None = None, who: str = "task", why: str = "") -> dict[str, Any]:
    """Stop a bot gracefully and start it. Run twice, it restarts twice."""
    return _order("restart", host, bot=bot, who=who, why=why)


@shared_task(name="outrider.supervise.scale", base=OutriderTask, time_limit=_LIMIT_S)
def scale(
    bot: str, instances: int, host: str | None = None, who: str = "task", why: str = ""
) -> dict[str, Any]:
    """Run as many instances of a bot as asked. Safe to run twice."""
    return _order("scale", host, bot=bot, instances=instances, who=who, why=why)


@shared_task(name="outrider.supervise.limit", base=OutriderTask, time_limit=_LIMIT_S)
def limit(
    bot: str, memory: str | None = None, host: str | None = None, who: str = "task", why: str = ""
) -> dict[str, Any]:
    """Set a bot's memory limit, such as ``300MiB``; None takes it away. Safe to run twice."""
    return _order("limit", host, bot=bot, memory=memory, who=who, why=why)


@shared_task(name="outrider.supervise.diagnose", base=OutriderTask, time_limit=_LIMIT_S)
def diagnose(bot: str, host: str | None = None) -> dict[str, Any]:
    """Return a bot's state, last log lines, events and crash reports, and what it said last."""
    return _order("diagnose", host, bot=bot)
