"""Series in plain Redis or Valkey: a hash of packed rows an hour, compressed when it is over.

One append is one script call, atomic and idempotent. The hour's key carries its own expiry, so
that retention holds even when no maintenance runs.
"""

from __future__ import annotations

import contextlib
import math
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import redis

from outrider.clock import tick_at, tick_start
from outrider.errors import StoreError
from outrider.samples import Row, Window
from outrider.store import connection, keys, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from outrider.samples import Values

CHUNK_S = 3600
# A range of fewer ticks than this is asked for by tick instead of reading the whole hour.
_FEW_TICKS = 120
# A range of more hours than this asks which hours there are, instead of trying each.
_FEW_HOURS = 3
_LOOK_FIRST = -1
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
        """Keep a row unless the tick has one. One round trip, unless its hour is sealed."""
        at_s = tick_start(tick, self.interval_s)
        begin = _chunk_start(at_s)
        chunk = self._chunk(host, begin)
        schema_id, names = rows.schema_of(values)
        ttl_s = int(self.retention_s) + _TTL_MARGIN_S
        places = [
            chunk,
            f"{chunk}:names",
            keys.chunks(host, self._tier),
            keys.series_hosts(self._tier),
            f"{chunk}:sealed",
        ]
        packed = rows.pack(schema_id, values)
        row = (_field(at_s), packed, schema_id, names, ttl_s, host, begin)
        answer = self._append(keys=places, args=(*row, ""))
        if answer == _LOOK_FIRST:
            if self._sealed_holds(chunk, at_s):
                return False
            answer = self._append(keys=places, args=(*row, "1"))
        return bool(answer)

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
                return Row(host, float(block.times_s[-1]), rows.last_of(block))
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
            over = start_s + CHUNK_S <= now_s - self.interval_s
            if over and self._redis.exists(chunk):
                ttl_s = int(max(60, start_s + self.retention_s + _TTL_MARGIN_S - now_s))
                sealed += self._seal(chunk, ttl_s)
        return sealed

    def _seal(self, chunk: str, ttl_s: int) -> bool:
        """Compress one hour; one that changes meanwhile is left for the next time."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.watch(chunk, f"{chunk}:sealed")  # type: ignore[no-untyped-call]
            block = self._block(chunk)
            pipe.multi()
            pipe.set(f"{chunk}:sealed", rows.seal(block), ex=ttl_s)
            pipe.delete(chunk, f"{chunk}:names")
            try:
                pipe.execute()
            except redis.WatchError:
                return False
        return True

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
        for begin in self._hours(host, start_s, end_s):
            from_s, until_s = max(start_s, begin), min(end_s, begin + CHUNK_S)
            fields = self._fields(from_s, until_s)
            block = self._block(self._chunk(host, begin), fields)
            block = rows.between(block, start_s, end_s)
            if len(block.times_s):
                found.append(block)
        return found

    def _hours(self, host: str, start_s: float, end_s: float) -> Iterable[int]:
        """Return the hours of a range: all of a short one, of a long one those that have rows."""
        if end_s <= start_s:
            return ()
        if end_s - start_s <= _FEW_HOURS * CHUNK_S:
            return range(_chunk_start(start_s), math.ceil(end_s), CHUNK_S)
        return [at_s for at_s in self._chunks(host) if start_s < at_s + CHUNK_S and at_s < end_s]

    def _fields(self, start_s: float, end_s: float) -> list[str] | None:
        """Return the hash fields of the ticks in a short range; None for a long one."""
        # One tick more at both ends: a division may round to the wrong side of a tick's start.
        first, last = tick_at(start_s, self.interval_s), tick_at(end_s, self.interval_s) + 2
        if last - first > _FEW_TICKS:
            return None
        return [_field(tick_start(tick, self.interval_s)) for tick in range(first, last)]

    def _block(self, chunk: str, fields: list[str] | None = None, *, again: bool = False) -> Window:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(f"{chunk}:sealed")
            pipe.hgetall(chunk) if fields is None else pipe.hmget(chunk, fields)
            pipe.hkeys(f"{chunk}:names")
            sealed, answer, schema_ids = cast("Any", pipe.execute())
        found = answer.items() if fields is None else zip(fields, answer, strict=True)
        packed = [(_time(field), row) for field, row in found if row is not None]
        known = self._known(chunk, schema_ids)
        if len(known) < len(schema_ids) and not again:  # sealed between our two questions
            return self._block(chunk, fields, again=True)
        fresh = rows.to_window((row for row in packed if math.isfinite(row[0])), known)
        self.damaged += len(packed) - len(fresh.times_s)
        if sealed is None:
            return fresh
        old = self._unsealed(sealed)
        # A row that was delivered again while its hour was sealed lies in both: the first counts.
        new = rows.where(fresh, ~np.isin(fresh.times_s, old.times_s))
        both = rows.join([old, new])
        return rows.where(both, np.argsort(both.times_s, kind="stable"))

    def _known(self, chunk: str, schema_ids: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Return the names of schemas; those seen before are not asked for again."""
        seen = self._schemas
        known = {schema_id: seen[schema_id] for schema_id in schema_ids if schema_id in seen}
        missing = [schema_id for schema_id in schema_ids if schema_id not in known]
        if missing:
            texts = cast("list[bytes | None]", self._redis.hmget(f"{chunk}:names", missing))
            for schema_id, text in zip(missing, texts, strict=True):
                with contextlib.suppress(msgspec.DecodeError):  # its rows count as damaged
                    known[schema_id] = tuple(msgspec.json.decode(text or b"", type=list[str]))
            # Replaced, not changed: other threads may be reading the old one.
            self._schemas = known if len(seen) > _SCHEMAS_KEPT else seen | known
        return known

    def _unsealed(self, block: bytes) -> Window:
        try:
            return rows.unseal(block)
        except StoreError:
            self.damaged += 1
            return _EMPTY


def _field(at_s: float) -> str:
    """Return the hash field of a tick's start: the shortest text that reads as the same number."""
    return repr(float(at_s))


def _time(field: str | bytes) -> float:
    """Return the time of a hash field; NaN for one that is not ours."""
    try:
        return float(field)
    except ValueError:
        return math.nan


def _chunk_start(at_s: float) -> int:
    return int(at_s // CHUNK_S) * CHUNK_S
