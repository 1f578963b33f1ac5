"""Where the web gets what it shows, Redis there or not.

Every call blocks and belongs in a thread. Without Redis the last known state is handed out with a
``problem`` beside it, so that a page keeps its content and says how old it is.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import redis

from outrider.clock import SYSTEM, tick_at
from outrider.settings import Settings
from outrider.store import keys
from outrider.web import analysis, health, records, series, view
from outrider.web.exposition import Exposition
from outrider.web.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from outrider.clock import Clock
    from outrider.samples import Row
    from outrider.store.tiers import Tiers
    from outrider.web.exposition import Other

logger = logging.getLogger(__name__)

AWAY = (redis.ConnectionError, redis.TimeoutError, OSError)


class Source:
    """Reads the fleet. ``address`` is how the server is called in what people read.

    ``others`` are what ``/metrics`` shows beside our rows; ``query`` answers for a series over a
    range, from raw rows unless another one is given.
    """

    def __init__(
        self,
        tiers: Tiers,
        client: redis.Redis,
        *,
        address: str,
        clock: Clock = SYSTEM,
        others: Sequence[Other] = (),
        settings: Settings | None = None,
    ) -> None:
        self.tiers = tiers
        self.store = tiers.raw
        self.client = client
        self.address = address
        self.clock = clock
        self.others = others
        self.settings = Settings() if settings is None else settings
        self.exposition = Exposition()
        self._lock = threading.Lock()
        self._known: dict[str, Any] | None = None
        self._away_since_s: float | None = None

    def look(self) -> dict[str, Any]:
        """Return the fleet now, or as it was last known with ``problem`` set. Does not raise."""
        now_s = self.clock.now()
        with self._lock:
            try:
                self._known = view.snapshot(self.store, self.client, now_s)
            except Exception as error:  # noqa: BLE001 - whatever it is, the page must stand
                return self._last_known(now_s, error)
            self._note_back()
            return self._known | {"problem": None, "notices": self.exposition.notices()}

    def stamp(self) -> Hashable:
        """Return something cheap that changes when there is news: a new tick, report or event.

        Twice a tick it changes by itself, because a tick's row comes some time after its start.
        """
        half_tick = tick_at(self.clock.now(), self.store.interval_s / 2)
        with self.client.pipeline(transaction=False) as pipe:
            for key in (keys.HISTORY, keys.ACTIONS, keys.NOTIFICATIONS, keys.COMMENTS):
                pipe.lindex(key, 0)
            for host in records.heartbeats(self.client):
                pipe.get(keys.report(host))
                pipe.get(keys.bots(host))
            return (half_tick, *pipe.execute())

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return readiness and its reason. Does not raise."""
        try:
            return health.readiness(self.store, self.client, self.clock.now())
        except (redis.RedisError, OSError) as error:
            return False, {"ready": False, "reason": self._what(error)}

    def rows(self) -> list[Row]:
        """Return the newest row of each host, the fleet's included, that is not out of date."""
        oldest_s = self.clock.now() - view.FRESH_INTERVALS * self.store.interval_s
        found = (self.store.last(host) for host in self.store.hosts())
        return [row for row in found if row is not None and row.at_s > oldest_s]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are not inactive."""
        beats = records.heartbeats(self.client)
        return view.active_alerts(records.read(self.client, sorted(beats), beats), self.clock.now())

    def series(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return which series there are. Raises BadArgument, redis.RedisError."""
        return series.listing(self.store, asked, self.clock.now())

    def over(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return one series over a range. Raises BadArgument, redis.RedisError."""
        return series.over(self.tiers, asked, self.clock.now())

    def analysis(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return a host's report with its pictures. Raises BadArgument, redis.RedisError."""
        return analysis.shown(self.client, self.store, asked, self.clock.now())

    def problem(self, error: Exception) -> str:
        """Return what people read when an answer can't be had."""
        return self._what(error)

    def _last_known(self, now_s: float, error: Exception) -> dict[str, Any]:
        if self._away_since_s is None:
            self._away_since_s = now_s
            # A server that went away is told in one line; anything else is ours to mend.
            logger.warning("%s", self._what(error), exc_info=not isinstance(error, AWAY))
        known = self._known or view.nothing(now_s, self.store.interval_s)
        since_s = known["data_at_s"]
        parts = ["What is shown was measured at ", since_s, "."] if since_s else []
        judged = Verdict("unknown", ["The fleet can't be seen now. ", *parts])
        return known | {
            "now_s": now_s,
            "data_age_s": now_s - since_s if since_s else None,
            "fresh": False,
            "verdict": judged.shown(now_s),
            "problem": {"text": self._what(error), "since_s": self._away_since_s},
            "notices": self.exposition.notices(),
        }

    def _note_back(self) -> None:
        if self._away_since_s is not None:
            logger.warning("Redis at %s answers again.", self.address)
        self._away_since_s = None

    def _what(self, error: Exception) -> str:
        if isinstance(error, redis.AuthenticationError):
            return f"Redis at {self.address} refuses the password; correct OUTRIDER_REDIS_URL."
        if isinstance(error, AWAY):
            return f"Redis at {self.address} does not answer; start it, or wait for it."
        return f"The data can't be read ({type(error).__name__}); the dashboard's log says more."
