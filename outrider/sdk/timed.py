"""``with bot.timed("x"):`` and ``@bot.timed("x")``: a generator costs twice as much."""

from __future__ import annotations

from functools import wraps
from time import perf_counter

TYPE_CHECKING = False  # see outrider.sdk.instruments
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    from outrider.sdk.instruments import Timer

    F = TypeVar("F", bound=Callable[..., Any])

# So many numbers are added up at once, in some 50 microseconds.
FOLD_AT = 256


class Block:
    """A timed block, or what times a function. What raises counts as an error besides.

    A block is for one use at a time; a function may run many times at once.
    """

    __slots__ = ("_start_s", "_timer")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def __enter__(self) -> None:
        self._start_s = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        took_s = perf_counter() - self._start_s
        timer = self._timer
        pending = timer.pending
        pending.append(took_s)  # as Timer.observe, whose call would cost a tenth more
        if len(pending) >= FOLD_AT:
            timer.fold()
        if kind is not None:
            timer.fail()

    def __call__(self, function: F) -> F:
        """Return the function, timed at every call; a coroutine function stays one.

        Raises:
            BadArgument: it is a generator function, of which a call says nothing.
        """
        import inspect

        from outrider.errors import BadArgument

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadArgument(
                f"{function.__qualname__} is a generator: calling it takes no time. "
                'Time what matters inside it by `with bot.timed("..."):`.'
            )
        timer = self._timer.hold()
        wrapped: Any
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def wrapped(*args: Any, **kwargs: Any) -> Any:
                with Block(timer):
                    return await function(*args, **kwargs)

        else:

            @wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with Block(timer):
                    return function(*args, **kwargs)

        return wrapped  # type: ignore[no-any-return]
