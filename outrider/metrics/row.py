"""Which collectors make a host's row, and which the row of what no host owns.

Collectors remember their last look, so that each of these is made once a process. What lies in
rooms above (the supervisor's word, Celery's queues) is passed in by the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from outrider.metrics.bots import BotsCollector
from outrider.metrics.cache import CacheCollector
from outrider.metrics.channel import ChannelCollector
from outrider.metrics.database import DatabaseCollector
from outrider.metrics.gather import Gatherer
from outrider.metrics.host import HostCollector
from outrider.metrics.redis import RedisCollector, RedisServers
from outrider.metrics.scrape import ScrapeCollector
from outrider.metrics.statsd import StatsdCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from outrider.metrics.gather import Part
    from outrider.settings import Settings

# Without its Redis a row has no place to go.
AWAY = (redis.ConnectionError, redis.TimeoutError)


class HostRow:
    """Makes the rows of this host. Not for two threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._gatherer = Gatherer(fatal=AWAY)
        self._host = HostCollector()
        self._bots = BotsCollector()
        self._caches = CacheCollector()
        self._channel = ChannelCollector()
        self._scrapes = ScrapeCollector(settings.scrape) if settings.scrape else None
        self._statsd = StatsdCollector() if settings.statsd.enabled else None

    def collect(
        self,
        now_s: float,
        *,
        snapshot: Callable[[], dict[str, Any] | None],
        loose: Callable[[], list[bytes]],
    ) -> dict[str, float]:
        """Return a row. ``snapshot`` asks the supervisor, None when there is none here.

        ``loose`` returns the frames of bots that nobody supervises. What others say of themselves
        stands before what we measure, which counts when both have a name.
        """
        spoken: dict[str, float] = {}

        def of_bots() -> dict[str, float]:
            said = snapshot()
            spoken.update(self._bots.collect(said, now_s) if said else {})
            return {**spoken, "supervisor.up": float(said is not None)}

        def of_unsupervised() -> dict[str, float]:
            found = self._bots.unsupervised(loose(), now_s)
            spoken.update(found)
            return found

        parts: dict[str, Part] = {}
        if self._scrapes is not None:
            scrapes = self._scrapes
            parts["scrape"] = lambda: scrapes.collect(now_s)
        if self._statsd is not None:
            statsd = self._statsd
            parts["statsd"] = lambda: statsd.collect((snapshot() or {}).get("statsd"), now_s)
        parts |= {
            "unsupervised": of_unsupervised,
            "bots": of_bots,
            "channel": lambda: self._channel.collect((snapshot() or {}).get("channel")),
            "caches": lambda: self._caches.collect(spoken),
            "host": lambda: self._host.collect(now_s),
        }
        return self._gatherer.row(parts)

    def sketches(self) -> dict[str, dict[int, int]]:
        """Hand over the timings' histograms since this was last asked: series to buckets."""
        return self._bots.sketches()

    def give_back(self, sketches: Mapping[str, Mapping[int, int]]) -> None:
        """Keep histograms that could not be stored for the next tick."""
        self._bots.timings.give_back(sketches)


class FleetRow:
    """Makes the rows of what no host owns. Not for two threads at once."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._gatherer = Gatherer(fatal=AWAY)
        self._redis = RedisCollector(client)
        self._servers = RedisServers(settings.redis) if settings.redis else None
        url = settings.database.url
        self._database = DatabaseCollector(url.get_secret_value()) if url else None

    def collect(self, now_s: float, *, others: Mapping[str, Part]) -> dict[str, float]:
        """Return a row, with the parts that ``others`` collect. Raises when Redis is away."""
        parts: dict[str, Part] = {**others, "redis": lambda: self._redis.collect(now_s)}
        if self._servers is not None:
            servers = self._servers
            parts["redis_servers"] = lambda: servers.collect(now_s)
        if self._database is not None:
            database = self._database
            parts["database"] = lambda: database.collect(now_s)
        return self._gatherer.row(parts)


def hosts(ages_s: Mapping[str, float], *, silent_after_s: float) -> dict[str, float]:
    """Return which hosts are silent, of the ages of their heartbeats.

    >>> hosts({"alpha": 1.0, "beta": 60.0}, silent_after_s=15.0)["fleet.hosts.silent"]
    1.0
    """
    silent = {name: age_s >= silent_after_s for name, age_s in ages_s.items()}
    return {
        "fleet.hosts.live": float(len(silent) - sum(silent.values())),
        "fleet.hosts.silent": float(sum(silent.values())),
        **{f"fleet.host.{name}.silent": float(quiet) for name, quiet in silent.items()},
    }
