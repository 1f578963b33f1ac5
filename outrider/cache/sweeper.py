"""One thread of the process that keeps the fronts of its caches on time, and sleeps otherwise."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from typing import Protocol

_LONGEST_WAIT_S = 3600.0  # what a lock can wait for has an end

logger = logging.getLogger(__name__)


class Ticking(Protocol):
    """What the thread calls."""

    def tick(self) -> float:
        """Do what is due. Return when to be called again, by the monotonic clock, or infinity."""
        ...


class Sweeper:
    """Calls ``tick`` when it was asked to. Holds what it calls weakly. Starts when first asked."""

    def __init__(self) -> None:
        self._due: weakref.WeakKeyDictionary[Ticking, float] = weakref.WeakKeyDictionary()
        self._changed = threading.Condition()
        self._next_s = math.inf
        self._thread: threading.Thread | None = None

    def call(self, ticking: Ticking, at_s: float) -> None:
        """Call ``ticking.tick()`` at this time, or earlier if that was asked for before."""
        with self._changed:
            if at_s < self._due.get(ticking, math.inf):
                self._due[ticking] = at_s
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="outrider-cache", daemon=True
                )
                self._thread.start()
            elif at_s < self._next_s:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            for ticking in self._wait():
                try:
                    at_s = ticking.tick()
                except Exception:  # a listener's fault must not stop the clock of all caches
                    logger.exception("cache: what has expired could not be removed")
                    at_s = time.monotonic() + 1.0
                if at_s < math.inf:
                    self.call(ticking, at_s)
                del ticking  # held until the next is due, it would never be freed

    def _wait(self) -> list[Ticking]:
        with self._changed:
            while True:
                now_s = time.monotonic()
                self._next_s = min(self._due.values(), default=math.inf)
                if self._next_s <= now_s:
                    ready = [each for each, at_s in self._due.items() if at_s <= now_s]
                    for each in ready:
                        self._due[each] = math.inf
                    return ready
                self._changed.wait(min(self._next_s - now_s, _LONGEST_WAIT_S))


_SWEEPER = Sweeper()


def call(ticking: Ticking, at_s: float) -> None:
    """Have the process's thread call ``ticking.tick()`` at this time of the monotonic clock."""
    _SWEEPER.call(ticking, at_s)


def _in_child() -> None:
    global _SWEEPER  # noqa: PLW0603 - the thread and who asked for it are the parent's
    _SWEEPER = Sweeper()


os.register_at_fork(after_in_child=_in_child)
