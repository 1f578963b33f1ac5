"""When a channel may be used again: pauses after failures, and how many messages a time allows.

A failure pauses its channel, longer each time, so that a service that is down is not asked for each
of a hundred messages; after a pause one message is tried, and only if it arrives do others follow.
From OPEN_AFTER failures in a row the circuit is *open*, which people see. What waits meanwhile is
kept, and combined.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PAUSES_S = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
OPEN_AFTER = 5
# What a service asks for is honoured up to this; none is trusted to silence us for a day.
LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Health:
    """How a channel fares. ``left`` are the messages that its rate allows at ``at_s``."""

    failures: int = 0
    until_s: float = 0.0
    left: float | None = None
    at_s: float = 0.0
    error: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: it failed often in a row."""
        return self.failures >= OPEN_AFTER


def free_s(health: Health, rate: tuple[int, float], now_s: float) -> float:
    """Return when the channel may send its next message; not after ``now_s``: at once."""
    left, (count, window_s) = _left(health, rate, now_s), rate
    lacking_s = max(0.0, 1.0 - left) * window_s / count
    return max(health.until_s, now_s + lacking_s)


def sent(health: Health, rate: tuple[int, float], now_s: float) -> Health:
    """Return the health after a message that arrived, or that was refused for good."""
    return Health(left=_left(health, rate, now_s) - 1.0, at_s=now_s)


def failed(
    health: Health, rate: tuple[int, float], now_s: float, *, error: str, asked_s: float | None
) -> Health:
    """Return the health after a message that did not arrive; ``asked_s`` is a Retry-After."""
    pause_s = PAUSES_S[min(health.failures, len(PAUSES_S) - 1)]
    if asked_s is not None:
        pause_s = min(max(asked_s, pause_s), LONGEST_PAUSE_S)
    return replace(
        health, failures=health.failures + 1, until_s=now_s + pause_s, error=error,
        left=_left(health, rate, now_s) - 1.0, at_s=now_s,
    )  # fmt: skip


def _left(health: Health, rate: tuple[int, float], now_s: float) -> float:
    count, window_s = rate
    if health.left is None:
        return float(count)
    refilled = max(0.0, now_s - health.at_s) * count / window_s
    return min(float(count), health.left + refilled)
