"""A circuit breaker: once a server failed to answer, nobody waits for it again for a while.

::

    closed ── failed ──► open ── back-off over ──► probing (one caller) ── succeeded ──► closed
                          ▲                              │
                          └──────────── failed ──────────┘
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from outrider.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.clock import Clock

# Jittered, so that a fleet does not fall upon a server that just came back.
SHORTEST_S, LONGEST_S = 0.5, 2.0


class Breaker:
    """Decides who may call. Every :meth:`allows` that said yes must be answered for."""

    def __init__(
        self,
        *,
        clock: Clock = SYSTEM,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._retry_at_s: float | None = None  # None: closed
        self._probing = False
        self.opened = 0

    @property
    def is_open(self) -> bool:
        """Whether the server is held to be away. Takes no turn, so anyone may ask."""
        return self._retry_at_s is not None

    def might_allow(self) -> bool:
        """Tell, without taking the turn, whether :meth:`allows` would say yes now."""
        retry_at_s = self._retry_at_s
        return retry_at_s is None or (not self._probing and self._clock.monotonic() >= retry_at_s)

    def allows(self) -> bool:
        """Tell whether to call now. After a back-off one caller is let through as a probe."""
        if self._retry_at_s is None:
            return True
        with self._lock:
            if not self.might_allow():
                return False
            self._probing = self._retry_at_s is not None
            return True

    def succeeded(self) -> bool:
        """Note an answer. Return whether this closed the breaker."""
        if self._retry_at_s is None:
            return False
        with self._lock:
            closed = self._retry_at_s is not None
            self._retry_at_s, self._probing = None, False
            return closed

    def failed(self) -> bool:
        """Note a failure. Return whether this opened the breaker."""
        with self._lock:
            opened = self._retry_at_s is None
            self.opened += opened
            self._retry_at_s = self._clock.monotonic() + self._jitter(SHORTEST_S, LONGEST_S)
            self._probing = False
            return opened
