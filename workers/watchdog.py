"""Notices a stack that lives but does not work.

A consumer may hang with its process alive: after a reconnection, in a stuck call, or stopped. A
check of the process sees nothing, so this looks at what the stack is for: rows. When none came for
several intervals although Redis answers, the worker is ended and started anew, and if that did not
help, beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Celery needs some four seconds after Redis was away; a tick may be under way.
STALE_TICKS = 3
GRACE_S = 8.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the watchdog looks at, at one moment. Ages are in seconds."""

    interval_s: float
    newest_row_age_s: float
    redis_answers: bool
    worker_ready_for_s: float
    beat_ready_for_s: float
    last_cure: Literal["none", "worker", "beat"] = "none"


def decide(seen: Seen) -> Literal["none", "worker", "beat"]:
    """Return the part that must be started anew.

    >>> decide(Seen(10, 12, True, 300, 300)), decide(Seen(10, 60, True, 300, 300))
    ('none', 'worker')
    """
    patience_s = STALE_TICKS * seen.interval_s + GRACE_S
    if not seen.redis_answers or seen.newest_row_age_s <= patience_s:
        return "none"
    if min(seen.worker_ready_for_s, seen.beat_ready_for_s) <= patience_s:
        return "none"  # a cure needs its time too
    return "beat" if seen.last_cure == "worker" else "worker"
