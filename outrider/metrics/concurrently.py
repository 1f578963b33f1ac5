"""Asks several far things at once, and waits for each no longer than it was given.

A thread can't be ended from outside. One that does not answer in time is left behind, and what it
asks is not asked again until it is done: a target that hangs for an hour holds one thread, not one
for each tick. It is a daemon, so that it does not hold up the end of a worker either.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """Something to ask. ``timeout_s`` is the longest that its answer is waited for."""

    @property
    def timeout_s(self) -> float:
        """Seconds."""
        ...

    def run(self) -> T_co:
        """Ask and return the answer; blocks. Runs in a thread of its own."""
        ...

    def cancel(self) -> None:
        """Do what can be done to make :meth:`run` return; called from another thread."""
        ...


class Crew(Generic[T]):
    """Threads that ask. Not for two threads at once."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._late: dict[str, threading.Thread] = {}

    def ask(self, jobs: Mapping[str, Job[T]]) -> dict[str, T | Exception]:
        """Return an answer for each, or why there is none: TimeoutError when it is too late."""
        self._late = {name: thread for name, thread in self._late.items() if thread.is_alive()}
        answers: dict[str, T | Exception] = {}
        started_s = self._monotonic()
        running = {
            name: _start(name, job, answers) for name, job in jobs.items() if name not in self._late
        }
        for name, thread in running.items():
            thread.join(max(0.0, started_s + jobs[name].timeout_s - self._monotonic()))
        return {name: self._answer(name, job, running, answers) for name, job in jobs.items()}

    def _answer(
        self,
        name: str,
        job: Job[T],
        running: Mapping[str, threading.Thread],
        answers: Mapping[str, T | Exception],
    ) -> T | Exception:
        if name not in running:
            return TimeoutError("still no answer to what was asked before")
        if name in answers:
            return answers[name]
        self._late[name] = running[name]
        job.cancel()
        return TimeoutError(f"no answer within {job.timeout_s:g} s")


def _start(name: str, job: Job[T], answers: dict[str, T | Exception]) -> threading.Thread:
    def run() -> None:
        try:
            answers[name] = job.run()
        except Exception as error:  # noqa: BLE001 - it is the answer; the caller looks at it
            answers[name] = error

    thread = threading.Thread(target=run, name=f"outrider-{name}", daemon=True)
    thread.start()
    return thread
