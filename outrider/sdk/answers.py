"""What a bot gets at once when it asks something: await it in asyncio, or wait for its result."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Answer:
    """An answer that is on its way; ``await answer``, or ``answer.result()`` in a thread.

    It always comes to an end: with a value, or with the error that says why there is none.
    """

    __slots__ = ("_callbacks", "_error", "_lock", "_settled", "_value", "forbidden_thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled = False
        self._value: Any = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Answer], None]] = []
        self.forbidden_thread: int | None = None

    @property
    def done(self) -> bool:
        """Tell whether it has come to its end."""
        return self._settled

    def settle(self, value: Any = None, error: Exception | None = None) -> None:
        """Bring it to its end; only the first time counts."""
        with self._lock:
            if self._settled:
                return
            self._value, self._error, self._settled = value, error, True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def when_done(self, callback: Callable[[Answer], None]) -> None:
        """Call ``callback(answer)`` at its end, in the thread that brings it, or now."""
        with self._lock:
            if not self._settled:
                self._callbacks.append(callback)
                return
        callback(self)

    def result(self) -> Any:
        """Return the value, or raise the error. Blocks until there is one: not for event loops.

        Raises:
            ChannelError: there is no answer; the kind says why.
            BadArgument: this thread is the one that would bring the answer.
        """
        if not self._settled:
            if threading.get_ident() == self.forbidden_thread:
                raise BadArgument(
                    "a subscriber runs in the channel's own thread and can't wait there for an "
                    "answer; serve() the function instead, or answer.when_done(...)."
                )
            came = threading.Event()
            self.when_done(lambda _: came.set())
            came.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def came() -> None:
            if not future.done():  # who awaited it was cancelled
                future.set_result(None)

        def wake(_: Answer) -> None:
            try:
                loop.call_soon_threadsafe(came)
            except RuntimeError:  # the loop was closed: nobody awaits any more
                return

        self.when_done(wake)
        yield from future
        if self._error is not None:
            raise self._error
        return self._value
