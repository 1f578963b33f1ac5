"""A Redis or Valkey: is it there, how quick, how full, what it evicts, and whether it saves.

A look is three pings, INFO and two short questions about the slow log: some 0.6 ms of CPU. Latency
is the quickest of three, since the others say how busy we are. What the user may not ask (SLOWLOG
is an administrator's command) is left out, and asked again seldom: each refusal takes a place in
ACL LOG.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import redis

from outrider.metrics.concurrently import Crew
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from outrider.settings import RedisSettings

logger = logging.getLogger(__name__)

PREFIX = "redis."
PINGS = 3
# Looks between two tries of what was refused: ten minutes at the usual interval.
ASK_AGAIN_AFTER = 60
# A server that the bots use is waited for so long; ours is waited for as any of its users does.
OTHERS_TIMEOUT_S = 1.0

# Our name, theirs. Totals count since the server started.
_FACTS = (
    ("memory_bytes", "used_memory"),
    ("memory.rss_bytes", "used_memory_rss"),
    ("memory.peak_bytes", "used_memory_peak"),
    ("memory.limit_bytes", "maxmemory"),
    ("memory.fragmentation_ratio", "mem_fragmentation_ratio"),
    ("clients", "connected_clients"),
    ("clients.blocked", "blocked_clients"),
    ("clients.max", "maxclients"),
    ("clients.refused_total", "rejected_connections"),
    ("ops_total", "total_commands_processed"),
    ("errors_total", "total_error_replies"),
    ("net.received_bytes_total", "total_net_input_bytes"),
    ("net.sent_bytes_total", "total_net_output_bytes"),
    ("evicted_total", "evicted_keys"),
    ("expired_total", "expired_keys"),
    ("hits_total", "keyspace_hits"),
    ("misses_total", "keyspace_misses"),
    ("persistence.aof", "aof_enabled"),
    ("persistence.loading", "loading"),
    ("persistence.unsaved_changes", "rdb_changes_since_last_save"),
    ("replication.replicas", "connected_slaves"),
    ("replication.offset_total", "master_repl_offset"),
    ("uptime_s", "uptime_in_seconds"),
)


class RedisCollector:
    """Collects from one server. Remembers what it may not ask."""

    def __init__(self, client: redis.Redis, *, prefix: str = PREFIX) -> None:
        self._client = client
        self._prefix = prefix
        self._looks = 0
        self._refused: dict[str, int] = {}

    def collect(self, now_s: float) -> dict[str, float]:
        """Return the server's series. Raises redis.RedisError when it is away."""
        self._looks += 1
        values = {"up": 1.0, "latency_s": self._latency_s()}
        info = self._allowed("INFO", self._client.info)
        if info:
            values |= facts(info, now_s)
        newest = self._allowed("SLOWLOG GET", lambda: self._client.slowlog_get(1))
        if newest is not None:
            # Ids go on when the log is emptied: the newest is how many there were ever.
            values["slowlog_total"] = float(newest[0]["id"] + 1) if newest else 0.0
        length = self._allowed("SLOWLOG LEN", self._client.slowlog_len)
        if length is not None:
            values["slowlog.length"] = float(length)
        return {self._prefix + name: value for name, value in values.items()}

    def _latency_s(self) -> float:
        took_s = []
        for _ in range(PINGS):
            start_s = time.perf_counter()
            # It answers, even if it says that we may not ask, or that it is loading.
            with contextlib.suppress(redis.exceptions.NoPermissionError):
                self._client.ping()
            took_s.append(time.perf_counter() - start_s)
        return round(min(took_s), 6)

    def _allowed(self, what: str, ask: Callable[[], Any]) -> Any:
        """Return an answer, or None when the user may not ask or the server knows no such thing."""
        if self._looks < self._refused.get(what, 0):
            return None
        try:
            return ask()
        except redis.ResponseError:
            self._refused[what] = self._looks + ASK_AGAIN_AFTER
            return None


class RedisServers:
    """Collects ``redis.server.NAME.*`` of other servers, all at once; one away is ``up`` 0."""

    def __init__(self, servers: Iterable[RedisSettings]) -> None:
        self._looks = {server.name: _Look(server) for server in servers}
        self._crew: Crew[dict[str, float]] = Crew()
        self._away: set[str] = set()

    def collect(self, now_s: float) -> dict[str, float]:
        """Return the series of each. Blocks for a second at most."""
        for look in self._looks.values():
            look.now_s = now_s
        values: dict[str, float] = {}
        for name, answer in self._crew.ask(self._looks).items():
            if isinstance(answer, Exception):
                values[f"{PREFIX}server.{name}.up"] = 0.0
                if name not in self._away:
                    # Its text may hold an address, and never a password.
                    logger.warning("redis server %s is away: %s", name, answer)
                self._away.add(name)
            else:
                values |= answer
                self._away.discard(name)
        return values


class _Look:
    """A job for the crew. ``now_s`` is set before each."""

    timeout_s = OTHERS_TIMEOUT_S

    def __init__(self, server: RedisSettings) -> None:
        self.now_s = 0.0
        self._client = connection.connect(
            server.url.get_secret_value(), timeout_s=OTHERS_TIMEOUT_S / 2
        )
        self._collector = RedisCollector(self._client, prefix=f"{PREFIX}server.{server.name}.")

    def run(self) -> dict[str, float]:
        return self._collector.collect(self.now_s)

    def cancel(self) -> None:
        """Do nothing: its own time-outs end it."""


def collect(client: redis.Redis) -> dict[str, float]:
    """Return ``redis.*`` at once. Raises redis.RedisError when the server is away."""
    return RedisCollector(client).collect(time.time())


def facts(info: Mapping[str, Any], now_s: float) -> dict[str, float]:
    """Return what INFO says, by our names; what this server does not say is left out.

    >>> facts({"used_memory": 50, "maxmemory": 200, "db0": {"keys": 3, "expires": 1}}, 0.0)[
    ...     "memory.used_ratio"]
    0.25
    """
    values = {name: float(info[key]) for name, key in _FACTS if key in info}
    if limit := info.get("maxmemory"):
        values["memory.used_ratio"] = round(info["used_memory"] / limit, 4)
    databases = [found for name, found in info.items() if name.startswith("db") and _is_keys(found)]
    values["keys"] = float(sum(found["keys"] for found in databases))
    values["keys.expiring"] = float(sum(found["expires"] for found in databases))
    for name, key in (("rdb", "rdb_last_bgsave_status"), ("aof", "aof_last_write_status")):
        if key in info:
            values[f"persistence.{name}_ok"] = float(info[key] == "ok")
    if saved_s := info.get("rdb_last_save_time"):
        values["persistence.save_age_s"] = float(max(0, round(now_s - saved_s)))
    if info.get("role") == "slave":
        values["replication.up"] = float(info.get("master_link_status") == "up")
        values["replication.silent_s"] = float(info.get("master_last_io_seconds_ago", -1))
    return values | _lag(info)


def _is_keys(found: object) -> bool:
    return isinstance(found, dict) and "keys" in found and "expires" in found


def _lag(info: Mapping[str, Any]) -> dict[str, float]:
    """Return how far the slowest replica is behind, in bytes of commands."""
    offsets = [
        found["offset"] for name, found in info.items()
        if name.startswith("slave") and isinstance(found, dict) and "offset" in found
    ]  # fmt: skip
    if not offsets or "master_repl_offset" not in info:
        return {}
    return {"replication.lag_bytes": float(max(0, info["master_repl_offset"] - min(offsets)))}
