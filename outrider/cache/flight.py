"""Single flight: of all who miss one key at the same time, one loads and the rest wait for it.

Threads and event loops share one table of futures. What must not happen, and how it is avoided:

- A load that asks for its own key would wait for itself: a context variable knows what this
  thread or task is loading already, and such a call loads by itself.
- A caller that is cancelled must not take the others' value with it: an asynchronous load is a
  task of its own, and everybody, its starter included, waits shielded.
- A loop or thread that is torn down in mid-load cancels its future: those who wait start over.
- A key invalidated in mid-load must not get the old value: its flight is made void, so that the
  loader does not keep what it loaded, and later callers start a new one.
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
    """One load under way."""

    __slots__ = ("_void", "future", "loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.future: Future[Any] = Future()
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self._void = False

    def cancel_keeping(self) -> None:
        """Say that what it loads is old already."""
        self._void = True

    def is_void(self) -> bool:
        """Tell whether what it loads must not be kept."""
        return self._void

    def is_lost(self) -> bool:
        """Tell whether nobody will ever finish it: its loop was closed under it."""
        return self.loop is not None and self.loop.is_closed() and not self.future.done()


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
            try:
                result: T = flight.future.result()
            except CancelledError:
                if not flight.future.cancelled():
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
            try:
                result: T = await asyncio.shield(asyncio.wrap_future(flight.future))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if is_ours or not flight.future.cancelled() or (task and task.cancelling()):
                    raise  # it is this caller who was cancelled
            else:
                return result

    def forget(self, key: str) -> None:
        """Make a load under way void: it is not to be kept, and later callers do not join it."""
        with self._lock:
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.cancel_keeping()

    def _join(self, key: str, loop: asyncio.AbstractEventLoop | None) -> tuple[Flight, bool]:
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and flight in _OWN.get():
                return Flight(loop), True
            if flight is None or flight.is_lost():
                flight = self._flights[key] = Flight(loop)
                return flight, True
            return flight, False

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
        if error is None:
            flight.future.set_result(result)
        elif isinstance(error, Exception):
            flight.future.set_exception(error)
        else:  # KeyboardInterrupt or a cancelled task: no fault of those who wait
            flight.future.cancel()
