"""The places of a connection pool: who has one, who waits for one, how many there may be.

A pure state machine under one lock; what opens and closes connections is outside (see
:mod:`outrider.database.resizable`). A *place* is the right to have one connection open. It is taken
before the connection is opened and given back after it was closed, so the open connections never
exceed the places, and these never exceed the cap, or on the way down the old one::

           take(), or wait()              give_back(record)
    idle ───────► in use ─────────────────► idle, or handed to who waits longest
      │                                       or, above the cap, RETIRED: closed by the caller
      └── resize(): RETIRED ── closed ──► retire() frees the place

Waiters are served in the order of their coming, those of high priority first. The last ``reserve``
places serve only them.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol


class Waiter(Protocol):
    """Somebody who waits. ``granted`` is a record, or OPEN: the right to open a connection."""

    urgent: bool
    granted: Any

    def wake(self) -> None:
        """Let the waiter go on; called once, from any thread, with the lock held."""
        ...


class Open:
    """The type of :data:`OPEN`."""


OPEN = Open()


@dataclass(frozen=True, slots=True)
class Use:
    """How a pool is used at this moment: ``held`` places, of them ``idle``; ``waiting`` callers."""

    cap: int
    held: int
    idle: int
    waiting: int


class Slots:
    """Places for the connections of one pool. Safe with threads; never blocks for long.

    ``keep`` is how many idle connections stay open, all of the cap by default.
    """

    def __init__(self, cap: int, *, reserve: int = 0, keep: int | None = None) -> None:
        self.cap = cap
        self.reserve = reserve
        self.keep = keep
        self._lock = threading.Lock()
        self._held = 0
        self._retiring = 0
        self._peak = 0
        self._idle: deque[tuple[float, Any]] = deque()
        self._urgent: deque[Waiter] = deque()
        self._usual: deque[Waiter] = deque()

    def use(self) -> Use:
        """Return the present use."""
        with self._lock:
            return Use(self.cap, self._held, len(self._idle), self._waiting())

    def peak(self) -> int:
        """Return the most places that were in use or waited for since the last call."""
        with self._lock:
            peak, self._peak = self._peak, self._wanted()
            return peak

    def take(self, urgent: bool = False) -> Any:  # noqa: FBT001, FBT002 - on every checkout
        """Return an idle record with the time since when it is idle, OPEN, or None: wait."""
        with self._lock:
            idle = self._idle
            # The usual case first: somebody was here before, nobody waits, all places are alike.
            if idle and not (self.reserve or self._usual or self._urgent):
                in_use = self._held - self._retiring - len(idle)
                if in_use < self.cap:
                    if in_use >= self._peak:
                        self._peak = in_use + 1
                    return idle.pop()
            return self._take(urgent)

    def wait(self, waiter: Waiter) -> Any:
        """Do as :meth:`take`; where that returns None, put the waiter into the queue."""
        with self._lock:
            granted = self._take(waiter.urgent)
            if granted is None:
                (self._urgent if waiter.urgent else self._usual).append(waiter)
                self._peak = max(self._peak, self._wanted())
            return granted

    def give_back(
        self,
        record: Any,
        at_s: float,
        usable: bool = True,  # noqa: FBT001, FBT002 - on every checkin
    ) -> bool:
        """Take a record back. True: the caller must close it, and then call :meth:`retire`.

        ``at_s`` is what :meth:`take` will tell of it.
        """
        with self._lock:
            if not usable or self._held - self._retiring > self.cap:
                self._retiring += 1
                return True
            self._idle.append((at_s, record))
            if self._usual or self._urgent:
                self._serve()
            if self.keep is not None and len(self._idle) > self.keep:
                self._idle.pop()  # nobody took it: it is the one that came last
                self._retiring += 1
                return True
            return False

    def retire(self) -> None:
        """Free the place of a record that was closed, or that could not be opened."""
        with self._lock:
            self._retiring -= 1
            self._held -= 1
            self._serve()

    def failed(self) -> None:
        """Free a place whose connection could not be opened."""
        with self._lock:
            self._held -= 1
            self._serve()

    def resize(self, cap: int) -> list[Any]:
        """Set the cap. Return records that the caller must close, each followed by retire()."""
        with self._lock:
            self.cap = cap
            surplus = []
            while self._idle and self._held - self._retiring > cap:
                surplus.append(self._idle.popleft()[1])
                self._retiring += 1
            self._serve()
            return surplus

    def drain(self) -> list[Any]:
        """Return all idle records, to be closed, each followed by retire()."""
        with self._lock:
            drained = [record for _, record in self._idle]
            self._idle.clear()
            self._retiring += len(drained)
            return drained

    def leave(self, waiter: Waiter) -> bool:
        """Stop waiting. False: something was granted meanwhile, and is the waiter's."""
        with self._lock:
            if waiter.granted is not None:
                return False
            (self._urgent if waiter.urgent else self._usual).remove(waiter)
            return True

    def _take(self, urgent: bool) -> Any:  # noqa: FBT001 - on every checkout
        if self._urgent or (self._usual and not urgent):
            return None
        if self.reserve and not self._has_room(urgent=urgent):
            return None
        idle = self._idle
        in_use = self._held - self._retiring - len(idle)
        if in_use >= self.cap:
            return None
        if in_use >= self._peak:
            self._peak = in_use + 1
        return idle.pop() if idle else self._new()

    def _serve(self) -> None:
        """Give what is free to those who wait."""
        while self._urgent or self._usual:
            if not self._has_room(urgent=bool(self._urgent)):
                return
            granted = self._idle.pop() if self._idle else self._new()
            if granted is None:
                return
            waiter = (self._urgent or self._usual).popleft()
            waiter.granted = granted
            waiter.wake()

    def _has_room(self, *, urgent: bool) -> bool:
        in_use = self._held - self._retiring - len(self._idle)
        return in_use < (self.cap if urgent else max(1, self.cap - self.reserve))

    def _new(self) -> Open | None:
        if self._held >= self.cap:  # what is being closed is open still
            return None
        self._held += 1
        return OPEN

    def _waiting(self) -> int:
        return len(self._urgent) + len(self._usual)

    def _wanted(self) -> int:
        return self._held - self._retiring - len(self._idle) + self._waiting()
