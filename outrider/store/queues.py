"""The queues, which are lists in Redis. A host has its own; the rest is shared by all hosts."""

from __future__ import annotations

import re

from outrider.errors import BadArgument

ANALYSIS = "outrider.analysis"
CACHE = "outrider.cache"
ALERTS = "outrider.alerts"
TUNING = "outrider.tuning"
SHARED = (ANALYSIS, CACHE, ALERTS, TUNING)

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_BY_AREA = {"analyse": ANALYSIS, "warm": CACHE, "alert": ALERTS, "tune": TUNING}
# Done on the host they concern: they read its processes or talk to its supervisor.
_ON_HOST = ("outrider.collect.host", "outrider.supervise.", "outrider.validate.")


def of_host(host: str) -> str:
    """Return a host's own queue.

    Raises:
        BadArgument: no host can have that name.
    """
    if not _HOST.fullmatch(host):
        raise BadArgument(f"host = {host!r} is no host name; see `outrider status` for the hosts.")
    return f"outrider.host.{host}"


def of_worker(host: str) -> list[str]:
    """Return the queues that a host's worker consumes."""
    return [of_host(host), *SHARED]


def of_task(name: str, *, host: str) -> str | None:
    """Return the queue of a task, or None when the task is not ours."""
    if name.startswith(_ON_HOST):
        return of_host(host)
    area = name.removeprefix("outrider.").partition(".")[0]
    return _BY_AREA.get(area, ANALYSIS) if name.startswith("outrider.") else None
