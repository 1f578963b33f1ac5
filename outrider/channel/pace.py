"""How long messages wait for company: not at all at light load, longer the more there are.

A write and a wake cost some 40 us of CPU on both sides together, whatever is in them. Below 10,000
messages a second they are sent as they come: whoever waits gains nothing. Above, they are gathered
for a window that grows with the rate, 0.2 ms for each 10,000 a second, 2 ms at most, so that a
batch has some 4 messages at 20,000 a second, 50 at 50,000 and 200 at 100,000. Kafka's ``linger``
is such a window of fixed length, and pays its delay at any rate; Clipper's and the reference's
additive increase, multiplicative decrease finds the same window by steps, and overshoots when the
rate falls. The rate is known here, so that it need not be searched.

The rate is that of the last slots of 5 ms; a burst is noticed before its slot is over.
"""

from __future__ import annotations

GATHERS_FROM_PER_S = 10_000.0
# Off again a little lower, so that a rate at the border does not switch to and fro.
GATHERS_UNTIL_PER_S = 8_000.0
WINDOW_PER_RATE_S = 0.2e-3 / 10_000
MOST_WINDOW_S = 2e-3
SLOT_S = 5e-3
_MEMORY = 0.5


class Pace:
    """Estimates the rate of messages, and chooses the window. Times are of a monotonic clock."""

    def __init__(self) -> None:
        self.rate_per_s = 0.0
        self.window_s = 0.0
        self._since_s = 0.0
        self._count = 0

    def note(self, messages: int, now_s: float) -> float:
        """Count messages that were sent at ``now_s``; return the window in seconds.

        >>> pace = Pace()
        >>> [pace.note(1, at / 1000) for at in range(100)][-1]
        0.0
        >>> round([pace.note(50, at / 1000) for at in range(100, 200)][-1], 4)
        0.001
        """
        self._count += messages
        elapsed_s = now_s - self._since_s
        burst = SLOT_S * GATHERS_FROM_PER_S
        if elapsed_s >= SLOT_S or (self.window_s == 0 and self._count >= 2 * burst):
            # A rate is never taken over less than a slot: ten in a microsecond are no million.
            rate = self._count / max(elapsed_s, SLOT_S)
            idle = elapsed_s > 4 * SLOT_S
            self.rate_per_s = rate if idle else self.rate_per_s * _MEMORY + rate * (1 - _MEMORY)
            self._count, self._since_s = 0, now_s
            self.window_s = self._window()
        return self.window_s

    def _window(self) -> float:
        border = GATHERS_UNTIL_PER_S if self.window_s else GATHERS_FROM_PER_S
        if self.rate_per_s < border:
            return 0.0
        return min(MOST_WINDOW_S, self.rate_per_s * WINDOW_PER_RATE_S)
