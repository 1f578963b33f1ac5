"""What all cached functions of a process share: one Redis client, one breaker, one recorder."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from outrider.cache.link import TIMEOUT_S
from outrider.cache.patterns import Recorder
from outrider.cache.redis import RedisTier
from outrider.errors import BadArgument
from outrider.store import connection

if TYPE_CHECKING:
    from concurrent.futures import Executor

# For asynchronous callers. A frozen server holds each for 40 ms at most, before the breaker opens.
THREADS = 4
_RECORDER_TIMEOUT_S = 0.5
PATIENCE = "OUTRIDER_CACHE_TIMEOUT_S"
_MOST_PATIENCE_S = 60.0


class Shared:
    """The connections of a process to one Redis."""

    def __init__(self, url: str) -> None:
        self.tier = RedisTier(url, timeout_s=_patience_s())
        # A client of its own: a slow flush must not make the breaker think the server is away.
        self.recorder = Recorder(connection.connect(url, timeout_s=_RECORDER_TIMEOUT_S), warms=True)
        self._threads: Executor | None = None

    @property
    def threads(self) -> Executor:
        """The threads that wait for Redis in the place of an event loop."""
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="outrider-cache")
        return self._threads

    def close(self) -> None:
        """Flush, end the threads, close the connections."""
        self.recorder.close()
        if self._threads is not None:
            self._threads.shutdown()
        self.tier.close()


def _patience_s() -> float:
    """Return how long a call waits for Redis before it goes on without: ``PATIENCE``, or 40 ms.

    More suits a Redis that is far away; less a machine where nothing else runs.
    """
    text = os.environ.get(PATIENCE)
    if not text:
        return TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MOST_PATIENCE_S:
        raise BadArgument(
            f"{PATIENCE} = {text!r} must be seconds, above 0 and at most {_MOST_PATIENCE_S:g},"
            " such as 0.1."
        )
    return seconds


_LOCK = threading.Lock()
_BY_URL: dict[str, Shared] = {}


def of(url: str) -> Shared:
    """Return what this process shares for the Redis at ``url``; nothing is sent yet.

    Raises:
        RedisRefused: the address is none.
        BadArgument: OUTRIDER_CACHE_TIMEOUT_S is no time.
    """
    with _LOCK:
        if url not in _BY_URL:
            _BY_URL[url] = Shared(url)
        return _BY_URL[url]


def close_all() -> None:
    """Close everything; the next use opens it again."""
    with _LOCK:
        found = list(_BY_URL.values())
        _BY_URL.clear()
    for shared in found:
        shared.close()


def forget_after_fork() -> None:
    """Begin anew in a child: connections and threads are the parent's."""
    global _LOCK  # noqa: PLW0603 - a lock that was held while forking would never be free
    _LOCK = threading.Lock()
    _BY_URL.clear()
