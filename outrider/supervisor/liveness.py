"""Whether a bot that was ready still works: heartbeat, event loop, probe. Pure: no clock in here.

Readiness is another matter: it is said once, and what is not ready yet is given its own time
(``ready_timeout_s``). Nothing here counts before a bot was ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Liveness:
    """What is asked of a bot; None: not asked."""

    heartbeat_s: float | None = None
    loop_lag_s: float | None = None
    probe: Callable[[], str] | None = None
    probe_every_s: float = 10.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a bot at one moment; None: nothing yet.

    ``heard_s_ago`` counts from when it was ready, or adopted, as long as nothing was heard.
    """

    heard_s_ago: float
    loop_lag_s: float | None = None
    failed_probes: int = 0
    probe_said: str = ""


def judge(policy: Liveness, seen: Seen) -> str:
    """Return why a bot counts as hanging; empty when it lives.

    >>> judge(Liveness(heartbeat_s=60), Seen(heard_s_ago=61))
    'hangs: nothing heard from it for 61 s, allowed 60 s'
    >>> judge(Liveness(failures=3), Seen(1, failed_probes=3, probe_said="http://x answers 500"))
    'hangs: 3 probes in a row failed: http://x answers 500'
    """
    if policy.heartbeat_s and seen.heard_s_ago > policy.heartbeat_s:
        return (
            f"hangs: nothing heard from it for {seen.heard_s_ago:.0f} s,"
            f" allowed {policy.heartbeat_s:g} s"
        )
    if policy.loop_lag_s and seen.loop_lag_s is not None and seen.loop_lag_s > policy.loop_lag_s:
        return (
            f"hangs: its event loop was blocked for {seen.loop_lag_s:.1f} s,"
            f" allowed {policy.loop_lag_s:g} s"
        )
    if seen.failed_probes >= policy.failures:
        return f"hangs: {seen.failed_probes} probes in a row failed: {seen.probe_said}"
    return ""
