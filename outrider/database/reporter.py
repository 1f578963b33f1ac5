"""Reports this process's statements to Redis every half minute, in a thread of its own.

Fingerprints are made here, away from the queries, once for each text; what leaves the process has
no values in it. A Redis that is away costs nothing: totals are sent, so
the next report says it all.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from outrider.database import budget, tally

if TYPE_CHECKING:
    import redis

logger = logging.getLogger(__name__)

EVERY_S = 30.0
# A short life is told as well, and a new bot is soon seen.
FIRST_S = 5.0
LAST_WORDS_S = 0.5


class Reporter:
    """Leaves the totals of this process under each PostgreSQL that it has an engine for."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self.begin()

    def begin(self) -> None:
        """Begin anew: at the start, and in a child."""
        self._client: redis.Redis | None = None
        self._known: set[tuple[str, str]] = set()
        self._said = 0
        self._process = budget.process_name()
        self._reporting = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outrider-statements", daemon=True)
        self._thread.start()

    def report(self) -> bool:
        """Report now. False: nothing is new, or Redis does not answer."""
        import redis

        from outrider.database import reported
        from outrider.store import connection

        if not self._reporting.acquire(timeout=LAST_WORDS_S):
            return False
        try:
            costs = tally.statements()
            ran = sum(each.calls for each in costs.values())
            if ran == self._said:
                return False
            report = reported.by_shape(costs)
            self._client = self._client or connection.connect(self._redis_url, timeout_s=1.0)
            for server in _servers():
                known = [name for of, name in self._known if of == server]
                reported.leave(self._client, server, self._process, report, time.time(), known)
                self._known |= {(server, name) for name in report.texts}
            self._said = ran
        except redis.RedisError as error:
            self._known.clear()  # a Redis that comes back may have lost them
            logger.debug("statements could not be reported: %s", error)
            return False
        else:
            return True
        finally:
            self._reporting.release()

    def close(self) -> None:
        """Report no more by itself."""
        self._over.set()

    def _run(self) -> None:
        over, pause_s = self._over, FIRST_S
        while not over.wait(pause_s):
            pause_s = EVERY_S
            with contextlib.suppress(Exception):  # whatever happens here, the bot goes on
                self.report()


_CURRENT: list[Reporter] = []


def start() -> None:
    """Report from now on, where ``OUTRIDER_REDIS_URL`` says to whom. Safe to repeat."""
    url = os.environ.get("OUTRIDER_REDIS_URL")
    if url and not _CURRENT:
        _CURRENT.append(Reporter(url))


def _servers() -> set[str]:
    return {
        budget.server_of(engine.url)
        for engine in tally.engines()
        if engine.dialect.name == "postgresql"
    }


def _in_child() -> None:
    for reporter in _CURRENT:
        reporter.begin()


os.register_at_fork(after_in_child=_in_child)


@atexit.register
def _last_words() -> None:
    for reporter in _CURRENT:
        with contextlib.suppress(Exception):  # the bot ends; nobody is left to tell
            reporter.report()
