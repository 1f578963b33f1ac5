"""Decides what follows the end of a process. Pure: history and time go in, a decision comes out."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.supervisor.spec import RestartPolicy

# A process that lived this long had a good start; the next back-off begins anew.
SETTLED_S = 30.0


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again after a wait."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Stay:
    """Leave it ended, as its strategy says."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Too many restarts in the window: it is failed until a person looks."""

    reason: str


Decision = Again | Stay | GiveUp


def decide(
    policy: RestartPolicy,
    *,
    code: int | None,
    lived_s: float,
    restarts_s: Sequence[float],
    in_a_row: int,
    now_s: float,
) -> Decision:
    """Return what to do after an exit with ``code`` (negative: a signal; None: unknown).

    An end that nobody can explain counts as a failure.

    ``restarts_s`` holds the times of earlier restarts, ``in_a_row`` how many of them came without
    the process settling in between.
    """
    if policy.strategy == "never" or (policy.strategy == "on-failure" and code == 0):
        return Stay()
    recent = [at_s for at_s in restarts_s if at_s > now_s - policy.window_s]
    if len(recent) >= policy.most:
        return GiveUp(
            f"restarted {len(recent)} times in {policy.window_s:.0f} s; last end: {describe(code)}"
        )
    row = 0 if lived_s >= SETTLED_S else in_a_row
    return Again(policy.backoff_s[min(row, len(policy.backoff_s) - 1)])


def spread(after_s: float, jitter: float, draw: float) -> float:
    """Return a wait that lies up to ``jitter`` of it to either side, by a draw from 0 to 1.

    Bots that fell together, with their database, must not all come back in the same instant.

    >>> spread(10.0, 0.2, 0.0), spread(10.0, 0.2, 0.5), spread(10.0, 0.2, 1.0)
    (8.0, 10.0, 12.0)
    """
    return after_s * (1 + jitter * (2 * draw - 1))


def describe(code: int | None) -> str:
    """Return an exit code in words.

    >>> describe(0), describe(3), describe(-9)
    ('exited normally', 'exited with code 3', 'killed by SIGKILL')
    >>> describe(None)
    'ended; how is not known, as it was no child of this supervisor'
    """
    if code is None:
        return "ended; how is not known, as it was no child of this supervisor"
    if code == 0:
        return "exited normally"
    if code > 0:
        return f"exited with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
