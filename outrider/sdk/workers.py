"""Daemon threads for functions that may block: started as needed, and no more than so many.

The standard library's pool is waited for at the end of the process, by which a function that hangs
would keep a bot from stopping.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Workers:
    """Runs what it is given, in turn. What it is given must not raise."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = 0
        self._unfinished = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        """Run something in one of the threads."""
        with self._lock:
            self._unfinished += 1
            another = self._threads < min(self._most, self._unfinished)
            self._threads += another
        self._queue.put(work)
        if another:
            threading.Thread(target=self._run, name="outrider-serves", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._queue.get()()
            with self._lock:
                self._unfinished -= 1
