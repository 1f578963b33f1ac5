"""Looking at the fleet again and again beside the keyboard, which must never wait for Redis.

The same look as the dashboard's: with Redis away it is the last known frame with a ``problem``. The
address is asked for anew each time, because a stack that starts again here may have another one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from outrider.clock import SYSTEM
from outrider.errors import OutriderError
from outrider.store import address, connection, tiers
from outrider.store.redis import RedisStore
from outrider.web import view
from outrider.web.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.settings import Settings

Frame = dict[str, Any]


class Lookout:
    """Finds this folder's Redis and looks. ``look`` does not raise for what is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = ""
        self._source: Source | None = None
        self._away_since_s: float | None = None

    def look(self) -> Frame:
        """Return the fleet now, or as it was last known with ``problem`` set."""
        try:
            url = address.redis_url(self._settings)
        except OutriderError as error:
            url = ""
            if self._source is None:
                return self._nothing(str(error))
        if self._source is not None and url in ("", self._url):
            return self._source.look()
        try:
            made = self._open(url)
        except ValueError:  # its text may show parts of the password
            shown = connection.without_password(url)
            return self._nothing(f"{shown!r} is no Redis address: redis://:PASSWORD@host:6379/0.")
        found = made.look()
        if self._source is None or found["problem"] is None:
            self._source, self._url = made, url
            return found
        return self._source.look()  # the new one is not up yet: this one still knows the last frame

    def _open(self, url: str) -> Source:
        kept = self._settings.retention
        client = connection.connect(url)
        raw = RedisStore(
            url, interval_s=self._settings.interval_s, retention_s=kept.raw, client=client
        )
        stores = tiers.of_redis(raw, kept, client=client)
        return Source(stores, client, address=connection.without_password(url))

    def _nothing(self, problem: str) -> Frame:
        now_s = SYSTEM.now()
        if self._away_since_s is None:
            self._away_since_s = now_s
        said = {"text": problem, "since_s": self._away_since_s}
        return view.nothing(now_s, self._settings.interval_s) | {"problem": said, "notices": []}


class Watch:
    """A thread that looks every ``interval_s`` and says so by ``news``."""

    def __init__(
        self, look: Callable[[], Frame], interval_s: float, news: Callable[[], None]
    ) -> None:
        self.newest: Frame | None = None
        self._look, self._interval_s, self._news = look, interval_s, news
        self._soon = threading.Event()
        self._ended = False
        # A daemon: whoever leaves must not wait for a server that does not answer.
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._soon.set()

    def ask(self) -> None:
        """Look at once instead of at the next turn."""
        self._soon.set()

    def _run(self) -> None:
        while not self._ended:
            self._soon.clear()
            self.newest = self._look()
            self._news()
            self._soon.wait(self._interval_s)


def aside(work: Callable[[], str], done: Callable[[str], None]) -> threading.Thread:
    """Run what takes its time in a thread of its own, and hand on what it says, or why not."""

    def run() -> None:
        try:
            said = work()
        except OutriderError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - the screen must stand, and say what it was
            said = f"failed: {type(error).__name__}: {error}"
        done(said)

    thread = threading.Thread(target=run, name="deed", daemon=True)
    thread.start()
    return thread
