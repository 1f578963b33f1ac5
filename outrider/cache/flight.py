"""Single flight: of all who miss one key at the same time, one loads and the rest wait for it.

Threads and event loops share one table of futures. What must not happen, and how it is avoided:

- A load that asks for its own key would wait for itself: a context variable knows what this
  thread or task is loading already, and such a call loads by itself.
- A caller that is cancelled must not take the others' value with it: an asynchronous load is a
  task of its own, and everybody, its starter included, waits shielded.
- A loop or thread that is torn down in mid-load cancels its future: those who wait start over.
- A key invalidated in mid-load must not get the old value: its flight is made void, so that what it
  loads is not kept, and later callers start a new one. Keeping and forgetting exclude each other:
  no reader sees a value between its being kept and its being found void.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Flight:
    """One load under way. Its future is made when somebody else comes to wait for it."""

    __slots__ = ("future", "is_void", "loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.future: Future[Any] | None = None
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.is_void = False  # what it loads is old already, and must not be kept

    def is_lost(self) -> bool:
        """Tell whether nobody will ever finish it: its loop was closed under it."""
        return self.loop is not None and self.loop.is_closed()


_OWN: ContextVar[tuple[Flight, ...]] = ContextVar("outrider_flights", default=())


class Flights:
    """The loads under way of one cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def run(self, key: str, work: Callable[[Flight], T], *, joined: Callable[[], None]) -> T:
        """Return ``work(flight)``, or what another caller's work returns. Blocks meanwhile.

        ``joined`` is called when there is another caller to wait for. What the work raises is
        raised to all who wait, and forgotten.
        """
        while True:
            flight, is_ours = self._join(key, None)
            if is_ours:
                return self._lead(key, flight, work)
            joined()
            future = _future(flight)
            try:
                result: T = future.result()
            except CancelledError:
                if not future.cancelled():
                    raise  # the work itself raised it
            else:
                return result

    async def run_async(
        self,
        key: str,
        work: Callable[[Flight], Coroutine[Any, Any, T]],
        *,
        joined: Callable[[], None],
    ) -> T:
        """Do as :meth:`run` does, without blocking the loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            flight, is_ours = self._join(key, loop)
            if is_ours:
                token = _OWN.set((*_OWN.get(), flight))
                flight.task = loop.create_task(self._drive(key, flight, work))
                _OWN.reset(token)
            else:
                joined()
            future = _future(flight)
            try:
                result: T = await asyncio.shield(asyncio.wrap_future(future))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if is_ours or not future.cancelled() or (task and task.cancelling()):
                    raise  # it is this caller who was cancelled
            else:
                return result

    def __contains__(self, key: str) -> bool:
        """Tell whether a key is being loaded."""
        return key in self._flights

    def forget(self, key: str, also: Callable[[], object]) -> None:
        """Make a load under way void, and do what makes readers forget, in one step for them."""
        with self._lock:
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.is_void = True
            also()

    def forget_all(self, also: Callable[[], object]) -> None:
        """Do as :meth:`forget` does, for every load under way."""
        with self._lock:
            for flight in self._flights.values():
                flight.is_void = True
            self._flights.clear()
            also()

    def keep(self, flight: Flight, do: Callable[[], object]) -> bool:
        """Do what keeps the result of a flight, unless it is void. Return whether it was done."""
        with self._lock:
            if not flight.is_void:
                do()
            return not flight.is_void

    def keep_free(self, do: Callable[[], object]) -> None:
        """Do what must not happen in the middle of forgetting."""
        with self._lock:
            do()

    def renew(self, key: str, flight: Flight) -> None:
        """Make a void flight good again: it is about to look anew."""
        if not flight.is_void:
            return
        with self._lock:
            if flight.is_void and key not in self._flights:
                flight.is_void = False
                self._flights[key] = flight

    def _join(self, key: str, loop: asyncio.AbstractEventLoop | None) -> tuple[Flight, bool]:
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                ours = self._flights[key] = Flight(loop)
            elif flight in _OWN.get():
                ours = Flight(loop)
            elif flight.is_lost():
                ours = self._flights[key] = Flight(loop)
            else:
                _future(flight)
                return flight, False
            if loop is not None:
                _future(ours)
            return ours, True

    def _lead(self, key: str, flight: Flight, work: Callable[[Flight], T]) -> T:
        token = _OWN.set((*_OWN.get(), flight))
        try:
            result = work(flight)
        except BaseException as error:
            self._land(key, flight, error=error)
            raise
        finally:
            _OWN.reset(token)
        self._land(key, flight, result=result)
        return result

    async def _drive(
        self, key: str, flight: Flight, work: Callable[[Flight], Coroutine[Any, Any, Any]]
    ) -> None:
        try:
            result = await work(flight)
        except BaseException as error:  # handed to those who wait
            self._land(key, flight, error=error)
            if not isinstance(error, Exception):
                raise
        else:
            self._land(key, flight, result=result)

    def _land(
        self, key: str, flight: Flight, *, result: Any = None, error: BaseException | None = None
    ) -> None:
        """Leave the table, then wake the others: in this order a retry finds the place free."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            future = flight.future
        if future is None:
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, Exception):
            future.set_exception(error)
        else:  # KeyboardInterrupt or a cancelled task: no fault of those who wait
            future.cancel()


def _future(flight: Flight) -> Future[Any]:
    if flight.future is None:
        flight.future = Future()
    return flight.future
