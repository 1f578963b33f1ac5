"""The tier inside the process: bounded by entries, least recently used goes first."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from outrider.clock import SYSTEM
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Hashable

    from outrider.clock import Clock


class MemoryCache:
    """Keeps at most ``capacity`` entries. Safe to use from threads; nothing blocks for long.

    Values are handed out as they were put in, not copied: do not change them.

    >>> cache = MemoryCache(2)
    >>> cache.set("a", 1), cache.set("b", 2), cache.get("a"), cache.set("c", 3)
    (None, None, 1, None)
    >>> cache.get("b", "gone"), len(cache)
    ('gone', 2)
    """

    def __init__(self, capacity: int, *, clock: Clock = SYSTEM) -> None:
        if capacity < 1:
            raise BadArgument(
                f"capacity = {capacity} holds nothing; give at least 1, such as 1000."
            )
        self.capacity = capacity
        self.evicted = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return the live value of ``key``, now the most recently used, or ``default``."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return default
            if entry[0] <= self._clock.monotonic():
                del self._entries[key]
                return default
            self._entries.move_to_end(key)
            return entry[1]

    def set(self, key: Hashable, value: Any, ttl_s: float | None = None) -> None:
        """Keep a value for ``ttl_s`` seconds, or until it is evicted.

        A time to live of zero or less has passed already: the key is then forgotten.
        """
        with self._lock:
            if ttl_s is not None and ttl_s <= 0:
                self._entries.pop(key, None)
                return
            until_s = math.inf if ttl_s is None else self._clock.monotonic() + ttl_s
            self._entries[key] = (until_s, value)
            self._entries.move_to_end(key)
            if len(self._entries) > self.capacity:
                self._entries.popitem(last=False)
                self.evicted += 1

    def delete(self, key: Hashable) -> bool:
        """Forget ``key``. Return whether it was there, live or expired."""
        with self._lock:
            return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        """Return how many entries are held; expired ones count until they are asked for."""
        return len(self._entries)
