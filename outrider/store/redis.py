"""Series in plain Redis or Valkey: a hash of packed rows an hour, compressed when it is over.

One append is one script call, atomic and idempotent. The hour's key carries its own expiry, so
that retention holds even when no maintenance runs.
"""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from outrider.clock import tick_at, tick_start
from outrider.errors import StoreError
from outrider.samples import Row, Window
from outrider.store import connection, keys, rows

if TYPE_CHECKING:
    import redis
    from numpy.typing import NDArray

    from outrider.samples import Values

CHUNK_S = 3600
# A range of fewer ticks than this is asked for by tick instead of reading the whole hour.
_FEW_TICKS = 120
_SCHEMAS_KEPT = 64
_TTL_MARGIN_S = 2 * CHUNK_S
_EMPTY = Window((), np.empty(0), np.empty((0, 0)))


class RedisStore:
    """Keeps rows in Redis. Implements :class:`outrider.store.base.SeriesStore`.

    Each ``tier`` (raw rows, summaries) has keys of its own.

    Blocks for at most a few seconds when the server is away, then raises redis.ConnectionError or
    redis.TimeoutError; nothing is half-written.
    """

    def __init__(
        self,
        url: str,
        *,
        interval_s: float = 10.0,
        retention_s: float = 172_800.0,
        client: redis.Redis | None = None,
        tier: str = keys.SERIES,
    ) -> None:
        self._tier = tier
        self.interval_s = interval_s
        self.retention_s = retention_s
        self.damaged = 0
        self._schemas: dict[bytes, tuple[str, ...]] = {}
        self._redis = client or connection.connect(url)
        script = resources.files("outrider.store").joinpath("append.lua").read_text("utf-8")
        self._append = self._redis.register_script(script)

    def append(self, host: str, tick: int, values: Values) -> bool:
        """Keep a row unless the tick has one. One round trip."""
        at_s = tick_start(tick, self.interval_s)
        begin = _chunk_start(at_s)
        chunk = self._chunk(host, begin)
        schema_id, names = rows.schema_of(values)
        ttl_s = int(self.retention_s) + _TTL_MARGIN_S
        if self._sealed_holds(chunk, at_s):
            return False
        return bool(
            self._append(
                keys=[
                    chunk,
                    f"{chunk}:names",
                    keys.chunks(host, self._tier),
                    keys.series_hosts(self._tier),
                ],
                args=[
                    round(at_s * 1000),
                    rows.pack(schema_id, values),
                    schema_id,
                    names,
                    ttl_s,
                    host,
                    begin,
                ],
            )
        )

    def read(
        self, host: str, series: str, start_s: float, end_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(times_s, values)`` of one series."""
        return rows.series_of(self.window(host, start_s, end_s), series)

    def window(self, host: str, start_s: float, end_s: float) -> Window:
        """Return all series of a host side by side."""
        return rows.join(self._blocks(host, start_s, end_s))

    def ticks(self, host: str, start_s: float, end_s: float) -> list[int]:
        """Return the ticks that have a row."""
        return [
            tick_at(at_s + self.interval_s / 2, self.interval_s)
            for block in self._blocks(host, start_s, end_s)
            for at_s in block.times_s.tolist()
        ]

    def last(self, host: str) -> Row | None:
        """Return the newest row."""
        for start_s in reversed(self._chunks(host)):
            block = self._block(self._chunk(host, start_s))
            if len(block.times_s):
                values = dict(zip(block.names, block.values[-1].tolist(), strict=True))
                return Row(host, float(block.times_s[-1]), values)
        return None

    def hosts(self) -> list[str]:
        """Return the hosts that have rows."""
        found = cast("set[bytes]", self._redis.smembers(keys.series_hosts(self._tier)))
        return sorted(host.decode() for host in found if self._chunks(host.decode()))

    def seal(self, host: str, now_s: float) -> int:
        """Compress the hours that are over, late rows merged. Return how many."""
        sealed = 0
        for start_s in self._chunks(host):
            chunk = self._chunk(host, start_s)
            if start_s + CHUNK_S > now_s - self.interval_s or not self._redis.exists(chunk):
                continue
            block = self._block(chunk)
            ttl_s = int(max(60, start_s + self.retention_s + _TTL_MARGIN_S - now_s))
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(f"{chunk}:sealed", rows.seal(block), ex=ttl_s)
                pipe.delete(chunk, f"{chunk}:names")
                pipe.execute()
            sealed += 1
        return sealed

    def expire(self, host: str, before_s: float) -> int:
        """Forget whole hours that ended before ``before_s``."""
        old = [start_s for start_s in self._chunks(host) if start_s + CHUNK_S <= before_s]
        for start_s in old:
            chunk = self._chunk(host, start_s)
            self._redis.delete(chunk, f"{chunk}:names", f"{chunk}:sealed")
            self._redis.zrem(keys.chunks(host, self._tier), start_s)
        return len(old)

    def _chunk(self, host: str, start_s: int) -> str:
        return keys.chunk(host, start_s, self._tier)

    def _chunks(self, host: str) -> list[int]:
        found = cast("list[bytes]", self._redis.zrange(keys.chunks(host, self._tier), 0, -1))
        return [int(start_s) for start_s in found]

    def _sealed_holds(self, chunk: str, at_s: float) -> bool:
        """Tell whether a sealed hour has the row; only a late row pays for looking."""
        block = cast("bytes | None", self._redis.get(f"{chunk}:sealed"))
        return block is not None and at_s in self._unsealed(block).times_s

    def _blocks(self, host: str, start_s: float, end_s: float) -> list[Window]:
        found = []
        for begin in range(_chunk_start(start_s), math.ceil(end_s), CHUNK_S):
            from_s, until_s = max(start_s, begin), min(end_s, begin + CHUNK_S)
            fields = self._fields(from_s, until_s)
            block = self._block(self._chunk(host, begin), fields)
            block = rows.between(block, start_s, end_s)
            if len(block.times_s):
                found.append(block)
        return found

    def _fields(self, start_s: float, end_s: float) -> list[int] | None:
        """Return the hash fields of the ticks in a short range; None for a long one."""
        first, last = math.ceil(start_s / self.interval_s), math.ceil(end_s / self.interval_s)
        if last - first > _FEW_TICKS:
            return None
        return [round(tick_start(tick, self.interval_s) * 1000) for tick in range(first, last)]

    def _block(self, chunk: str, fields: list[int] | None = None) -> Window:
        if fields is not None and not fields:
            return _EMPTY
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(f"{chunk}:sealed")
            pipe.hgetall(chunk) if fields is None else pipe.hmget(chunk, fields)
            pipe.hkeys(f"{chunk}:names")
            sealed, answer, schema_ids = cast("Any", pipe.execute())
        packed = (
            [(int(field) / 1000, row) for field, row in answer.items()]
            if fields is None
            else [(field / 1000, row) for field, row in zip(fields, answer, strict=True) if row]
        )
        fresh = rows.to_window(packed, self._known(chunk, schema_ids))
        self.damaged += len(packed) - len(fresh.times_s)
        if sealed is None:
            return fresh
        both = rows.join([self._unsealed(sealed), fresh])
        order = np.argsort(both.times_s, kind="stable")
        return Window(both.names, both.times_s[order], both.values[order])

    def _known(self, chunk: str, schema_ids: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Return the names of schemas; those seen before are not asked for again."""
        fresh = [schema_id for schema_id in schema_ids if schema_id not in self._schemas]
        if fresh:
            if len(self._schemas) > _SCHEMAS_KEPT:
                self._schemas.clear()
                fresh = schema_ids
            texts = cast("list[bytes]", self._redis.hmget(f"{chunk}:names", fresh))
            for schema_id, text in zip(fresh, texts, strict=True):
                if text is not None:
                    self._schemas[schema_id] = tuple(msgspec.json.decode(text, type=list[str]))
        return self._schemas

    def _unsealed(self, block: bytes) -> Window:
        try:
            return rows.unseal(block)
        except StoreError:
            self.damaged += 1
            return _EMPTY


def _chunk_start(at_s: float) -> int:
    return int(at_s // CHUNK_S) * CHUNK_S
