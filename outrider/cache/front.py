"""What a cached function serves without asking its cache: a plain dictionary, kept true.

A hit there is one look-up and one counter. The clock is off its path: entries are taken out when
their time has come, by the thread of :mod:`outrider.cache.sweeper`. A value may so be served after
its time for as long as a timer wheel's tick (4 ms) and the thread's turn at the interpreter take
(5 ms while another thread computes): ten milliseconds of running time, as a rule. What the counters
count reaches statistics and usage patterns within a second.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from outrider.cache import sweeper

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from outrider.cache.calls import Call
    from outrider.cache.memory import MemoryCache

COUNT_S = 1.0
# Uses of entries that left wait to be counted; so many don't wait for the second to end.
_MOST_WAITING = 1000


class Front:
    """Keeps ``table`` for one memory cache. ``served(call, count)`` is told of the uses there."""

    def __init__(
        self,
        memory: MemoryCache,
        table: dict[Any, Any],
        served: Callable[[Call, int], None],
    ) -> None:
        self.table = table
        self._memory = memory
        self._served = served
        self._alarm_s = self._count_s = math.inf

    def show(
        self,
        call: Call,
        value: Any,
        *,
        name: Hashable,
        kind: Any,
        shown: Any,
        for_s: float = math.inf,
    ) -> None:
        """Serve ``shown`` under ``name`` for ``for_s``, while the key's value is ``value``."""
        due_s = self._memory.show(
            call.key, value, self.table, name=name, shown=shown, kind=kind, call=call, for_s=for_s
        )
        if due_s is None:
            return
        if self._count_s == math.inf:
            self._count_s = time.monotonic() + COUNT_S
        due_s = min(due_s, self._count_s)
        if due_s < self._alarm_s and self._memory.is_timely:
            self._alarm_s = due_s
            sweeper.call(self, due_s)
        if len(self._memory.left) > _MOST_WAITING:
            self.count()

    def tick(self) -> float:
        """Take out what has expired, and count once a second. Return when to come again."""
        self._alarm_s = -math.inf  # whoever shows now need not call: we look again
        due_s = self._memory.expire()
        if time.monotonic() >= self._count_s:
            self.count()
            # Nothing is shown: nobody comes until something is again.
            self._count_s = time.monotonic() + COUNT_S if self.table else math.inf
        self._alarm_s = min(due_s, self._count_s)
        return self._alarm_s if self.table or self._count_s < math.inf else math.inf

    def count(self) -> None:
        """Tell of the uses since the last time."""
        for call, count in self._memory.served():
            self._served(call, count)
