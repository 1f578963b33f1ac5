"""The fleet's Redis or Valkey: is it there, how quick, how full."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis


def collect(client: redis.Redis) -> dict[str, float]:
    """Return ``redis.*``. Raises redis.RedisError when the server is away: then nothing is kept."""
    start = time.perf_counter()
    client.ping()
    latency_s = time.perf_counter() - start
    info = client.info()
    values = {
        "redis.up": 1.0,
        "redis.latency_s": latency_s,
        "redis.memory_bytes": float(info["used_memory"]),
        "redis.clients": float(info["connected_clients"]),
        "redis.ops_total": float(info["total_commands_processed"]),
        "redis.evicted_total": float(info["evicted_keys"]),
        "redis.uptime_s": float(info["uptime_in_seconds"]),
    }
    if info.get("maxmemory"):
        values["redis.memory.used_ratio"] = info["used_memory"] / info["maxmemory"]
    return values
