"""What a cache does, told once for threads and event loops.

A *plan* is a generator: it yields a slot and is sent the answer, or yields ``LOAD`` and is sent
what the loader returned, or a :class:`Failed`. It decides; the two drivers here wait, each in its
own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    Plan = Generator[Any, Any, Any]

LOAD = object()


class Failed:
    """What a loader raised. A plan that returns it has it raised to its caller."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def drive(plan: Plan, loader: Callable[[], Any]) -> Any:
    """Carry a plan out, blocking this thread while it waits."""
    answer: Any = None
    try:
        while True:
            step = plan.send(answer)
            if step is LOAD:
                try:
                    answer = loader()
                except BaseException as error:  # noqa: BLE001 - the plan decides, and it is raised
                    answer = Failed(error)
            else:
                answer = step.wait()
    except StopIteration as done:
        return _result(done.value)
    finally:
        plan.close()


async def drive_async(plan: Plan, loader: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Carry a plan out in an event loop, which runs on while it waits."""
    answer: Any = None
    try:
        while True:
            step = plan.send(answer)
            if step is LOAD:
                try:
                    answer = await loader()
                except BaseException as error:  # noqa: BLE001 - the plan decides, and it is raised
                    answer = Failed(error)
            else:
                answer = await step.wait_async()
    except StopIteration as done:
        return _result(done.value)
    finally:
        plan.close()


def no_loader() -> Any:
    """Stand for the loader of a plan that loads nothing."""
    raise AssertionError("this plan loads nothing")


def _result(result: Any) -> Any:
    if type(result) is Failed:
        raise result.error
    return result
