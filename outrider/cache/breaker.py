"""A circuit breaker: once a server failed to answer, nobody waits for it until it is back.

::

    closed ── an answer is overdue, or the connection breaks ──► open ── it answers ──► closed

Callers never probe: the thread that holds the connection does, so that no call pays for it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Jittered, so that a fleet does not fall upon a server that just came back; short enough that with
# the time a try may take a server is found within two seconds of its return.
SHORTEST_S, LONGEST_S = 0.1, 0.6


class Breaker:
    """Whether a server is held to be away, and how long until the next try."""

    def __init__(self, *, jitter: Callable[[float, float], float] = random.uniform) -> None:
        self._jitter = jitter
        self.is_open = False
        self.opened = 0

    def failed(self) -> bool:
        """Note a failure. Return whether this opened the breaker."""
        opened = not self.is_open
        self.is_open = True
        self.opened += opened
        return opened

    def succeeded(self) -> bool:
        """Note that the server answers. Return whether this closed the breaker."""
        closed = self.is_open
        self.is_open = False
        return closed

    def retry_in_s(self) -> float:
        """Return how long to leave the server alone after a try that failed."""
        return self._jitter(SHORTEST_S, LONGEST_S)
