"""Refreshes beside the calls that they are for: in a thread, or as a task of the caller's loop.

Threads are daemons and no pool's: a loader that hangs must not keep a process from ending. Their
number is bounded, because each may hold a connection of the user's; a refresh that finds no place
is left to the next call that wants it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

MOST_THREADS = 8

logger = logging.getLogger(__name__)


class Background:
    """The refreshes under way of one cache."""

    def __init__(self, namespace: str, *, most_threads: int = MOST_THREADS) -> None:
        self._namespace = namespace
        self._places = threading.Semaphore(most_threads)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, key: str, work: Callable[[], Any]) -> bool:
        """Run ``work`` in a thread. Return False when all places are taken."""
        if not self._places.acquire(blocking=False):
            return False
        thread = threading.Thread(
            target=self._run, args=(key, work), name="outrider-refresh", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or there are no more threads to be had
            self._places.release()
            return False
        return True

    def start_async(self, key: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work`` as a task of the running loop."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(lambda done: self._ended(key, done))

    def _run(self, key: str, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a loader is the user's code
            self._failed(key, error)
        finally:
            self._places.release()

    def _ended(self, key: str, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(key, error)

    def _failed(self, key: str, error: BaseException) -> None:
        logger.warning(
            "cache: refreshing %s of %s failed (%s: %s); the value before it is served on",
            *(key, self._namespace, type(error).__name__, error),
        )
