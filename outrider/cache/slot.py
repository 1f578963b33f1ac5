"""A place for an answer that comes from another thread, to be waited for in either colour."""

from __future__ import annotations

import contextlib
import enum
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Away(enum.Enum):
    """Answers of their own: a server that is away must not look like a miss."""

    AWAY = "away"
    WAITING = "waiting"


AWAY = Away.AWAY
WAITING = Away.WAITING


class Slot:
    """Waited for by one thread or task, and filled once by another thread.

    No lock guards it: who waits first says how to wake it and then looks, who fills it first leaves
    the answer and then wakes, so that one of the two always sees the other.
    """

    __slots__ = ("_wake", "answer", "limit_s", "overdue", "owes")

    def __init__(
        self, limit_s: float, overdue: Callable[[], None] | None = None, owes: Any = None
    ) -> None:
        self.answer: Any = WAITING
        self.limit_s = limit_s
        self.overdue = overdue  # called by who has waited in vain
        self.owes = owes  # the change to be sent again if no answer comes
        self._wake: Callable[[], None] | None = None

    def fill(self, answer: Any) -> None:
        """Leave the answer, and wake who waits for it. A second answer is ignored."""
        if self.answer is not WAITING:
            return
        self.answer = answer
        if self._wake is not None:
            self._wake()

    def wait(self) -> Any:
        """Return the answer, or AWAY when none came within the limit. Blocks until then."""
        if self.answer is WAITING:
            turn = threading.Lock()
            turn.acquire()
            self._wake = turn.release
            if self.answer is WAITING:
                turn.acquire(timeout=self.limit_s)
        return self._taken()

    async def wait_async(self) -> Any:
        """Do as :meth:`wait` does, without blocking the event loop."""
        if self.answer is WAITING:
            import asyncio

            loop = asyncio.get_running_loop()
            turn = loop.create_future()
            self._wake = _waking(loop, turn)
            if self.answer is WAITING:
                timer = loop.call_later(self.limit_s, _end, turn)
                try:
                    await turn
                finally:
                    timer.cancel()
        return self._taken()

    def _taken(self) -> Any:
        if self.answer is not WAITING:
            return self.answer
        if self.overdue is not None:
            self.overdue()
        return AWAY


def _waking(loop: asyncio.AbstractEventLoop, turn: asyncio.Future[None]) -> Callable[[], None]:
    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            loop.call_soon_threadsafe(_end, turn)

    return wake


def _end(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Then(Slot):
    """A slot that nobody waits for: its answer is handed on, in the thread that fills it."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[Any], None], owes: Any = None) -> None:
        super().__init__(0.0, None, owes)
        self._then = then

    def fill(self, answer: Any) -> None:
        """Hand the answer on, once."""
        if self.answer is WAITING:
            super().fill(answer)
            self._then(answer)


class Mark(Then):
    """The slot of a PING behind a SUBSCRIBE.

    A SUBSCRIBE is answered by a push if all is well, and by an error that no slot waits for if not.
    A PING does not fail: an error in its place is that of the SUBSCRIBE, and ``refused`` gets it.
    """

    __slots__ = ("refused",)

    def __init__(self, then: Callable[[Any], None], refused: Callable[[Any], None]) -> None:
        super().__init__(then)
        self.refused = refused
