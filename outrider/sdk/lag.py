"""How late an event loop runs what is due: a sleeping loop is on time, a blocked one is not."""

from __future__ import annotations

TYPE_CHECKING = False  # see outrider.sdk.instruments
if TYPE_CHECKING:
    import asyncio

    from outrider.sdk.instruments import Timer

# Timers are this late on an idle machine: it is no news, and would fill buckets.
UNNOTICED_S = 1e-3


class LoopLag:
    """Looks four times a second how late it is called; each lateness goes into ``history``."""

    PERIOD_S = 0.25

    def __init__(self, loop: asyncio.AbstractEventLoop, history: Timer) -> None:
        self._loop = loop
        self._history = history
        self._worst = 0.0
        self._due = loop.time() + self.PERIOD_S
        loop.call_later(self.PERIOD_S, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late_s = now - self._due
        self._history.observe(late_s if late_s >= UNNOTICED_S else 0.0)
        self._worst = max(self._worst, late_s)
        self._due = now + self.PERIOD_S
        self._loop.call_later(self.PERIOD_S, self._tick)

    def watches(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether it is this loop that is watched; a bot may run one after another."""
        return self._loop is loop

    def worst(self) -> float:
        """Return the worst lateness in seconds since the last call; a hanging loop is late."""
        worst = max(self._worst, self._loop.time() - self._due) if not self._loop.is_closed() else 0
        self._worst = 0.0
        return max(0.0, worst)
