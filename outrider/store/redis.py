"""Series in plain Redis or Valkey: raw rows first, compressed columns when their range is over.

An append is one script call, atomic and idempotent. A day of one series is read by another: it
follows the pieces' tables on the server and moves a few kilobytes. Which bytes lie where:
``chunks.py`` (a sealed piece), ``spans.py`` (how ticks are grouped), ``keys.py``.

What becomes of a tick's row:

- *in order, late or out of order*: kept in the head of its range, beside the sealed piece when
  there is one; the next seal puts it in its place.
- *twice*: the first counts, whether that one is sealed or not. With ``replace`` the last one does.
- *from before what was forgotten* (:meth:`RedisStore.expire`): refused, and counted in ``refused``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from outrider.clock import tick_at
from outrider.errors import StoreError
from outrider.samples import Row, Window
from outrider.store import (
    appending,
    chunks,
    connection,
    keys,
    parts,
    reading,
    rows,
    schemas,
    sealing,
    spans,
)
from outrider.store.damage import Damage
from outrider.store.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis
    from numpy.typing import NDArray

    from outrider.samples import Values
    from outrider.store.sealing import BeforeCommit

logger = logging.getLogger("outrider.store")


class RedisStore:
    """Keeps rows in Redis. Implements :class:`outrider.store.base.SeriesStore`.

    Each ``tier`` (raw rows, summaries) has keys of its own. ``damaged`` counts what could not be
    read, ``refused`` rows that came after their time was forgotten.

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
        self.refused = 0
        self._damage = Damage()
        self._redis = client or connection.connect(url)
        self._schemas = schemas.Schemas(self._redis, tier=tier)
        self._appender = appending.Appender(
            self._redis, tier=tier, interval_s=interval_s, retention_s=retention_s
        )
        self._sealer = sealing.Sealer(
            self._redis,
            tier=tier,
            retention_s=retention_s,
            schemas=self._schemas,
            damage=self._damage,
        )
        self._reader = reading.Reader(
            self._redis, tier=tier, known=self._schemas, damage=self._damage
        )
        self._expire = Script(self._redis, "expire")

    @property
    def damaged(self) -> int:
        """Return how many rows, columns and pieces could not be read since the start."""
        return self._damage.count

    def append(self, host: str, tick: int, values: Values, *, replace: bool = False) -> bool:
        """Keep a row unless the tick has one, or in its place. One round trip.

        Raises:
            BadArgument: a value is no number.
        """
        answer = self._appender.append(host, tick, values, replace=replace)
        if answer == appending.FORGOTTEN:
            self.refused += 1
            if self.refused == 1:
                logger.warning("host %s: the row of tick %d is too late, refused.", host, tick)
        return answer == appending.KEPT

    def read(
        self, host: str, series: str, start_s: float, end_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(times_s, values)`` of one series. One round trip, two at its first sight.

        Another one is needed when a piece was sealed again since its last read, or is damaged.
        """
        found = self._reader.series(host, series, start_s, end_s) if start_s < end_s else []
        return parts.joined(found, start_s, end_s)

    def window(self, host: str, start_s: float, end_s: float) -> Window:
        """Return all series of a host side by side."""
        return rows.between(self._window("window", host, start_s, end_s)[0], start_s, end_s)

    def ticks(self, host: str, start_s: float, end_s: float) -> list[int]:
        """Return the ticks that have a row."""
        found: list[NDArray[Any]] = [np.empty(0)]
        for piece, answer in self._pieces("ticks", host, start_s, end_s)[1]:
            if piece.kind == spans.HEAD:
                found.append(np.frombuffer(answer[1], "<i8") * piece.step_s)
                continue
            try:
                found.append(chunks.header(answer[1]).ticks() * piece.step_s)
            except StoreError as error:
                self._damage.note(piece.name, error)
        times = np.concatenate(found)
        times = times[(times >= start_s) & (times < end_s)]
        half_s = self.interval_s / 2
        return sorted({tick_at(at_s + half_s, self.interval_s) for at_s in times.tolist()})

    def last(self, host: str) -> Row | None:
        """Return the newest row."""
        before_s = reading.EVER
        while True:
            window, begins_s = self._window("newest", host, -reading.EVER, before_s)
            window = rows.between(window, -reading.EVER, before_s)
            if len(window.times_s):
                return Row(host, float(window.times_s[-1]), rows.last_of(window))
            if begins_s is None:
                return None
            before_s = begins_s  # all that was there is damaged: what is older?

    def hosts(self) -> list[str]:
        """Return the hosts that have rows."""
        found = sorted(cast("set[bytes]", self._redis.smembers(keys.series_hosts(self._tier))))
        with self._redis.pipeline(transaction=False) as pipe:
            for host in found:
                pipe.exists(keys.chunks(host.decode(), self._tier))
            return [
                host.decode() for host, there in zip(found, pipe.execute(), strict=True) if there
            ]

    def seal(self, host: str, now_s: float, *, before_commit: BeforeCommit | None = None) -> int:
        """Compress the ranges that are over, late rows merged. Return how many pieces were made."""
        return self._sealer.seal(host, now_s, before_commit)

    def expire(self, host: str, before_s: float) -> int:
        """Forget pieces that ended before ``before_s``. Return how many."""
        before_s = min(before_s, reading.EVER)
        places = [
            keys.chunks(host, self._tier),
            keys.series_hosts(self._tier),
            keys.schemas(host, self._tier),
            keys.forgotten(host, self._tier),
        ]
        keep_s = appending.keep_s(self.retention_s, self.interval_s)
        return int(
            self._expire(places, [repr(before_s), keys.piece(host, "", self._tier), host, keep_s])
        )

    def _pieces(
        self, what: str, host: str, start_s: float, end_s: float
    ) -> tuple[Mapping[bytes, tuple[str, ...]], list[tuple[spans.Piece, list[Any]]]]:
        return self._reader.pieces(what, host, start_s, end_s) if start_s < end_s else ({}, [])

    def _window(
        self, what: str, host: str, start_s: float, end_s: float
    ) -> tuple[Window, float | None]:
        """Return the rows of all pieces of a range, and when the first of these begins."""
        known, pieces = self._pieces(what, host, start_s, end_s)
        found: list[tuple[int, Window]] = []
        for piece, answer in pieces:
            for window in self._windows(piece, answer, known):
                times = window.times_s * piece.step_s
                found.append((piece.rank, Window(window.names, times, window.values)))
        found.sort(key=lambda part: part[0])
        begins = min((piece.start_s for piece, _ in pieces), default=None)
        return rows.merged([window for _, window in found]), begins

    def _windows(
        self, piece: spans.Piece, answer: list[Any], known: Mapping[bytes, tuple[str, ...]]
    ) -> list[Window]:
        if piece.kind == spans.HEAD:
            ticks = np.frombuffer(answer[1], "<i8").tolist()
            packed = dict(zip(ticks, answer[2], strict=True))
            return sealing.windows_of(packed, known, piece.name, self._damage)
        try:
            part = chunks.decode(answer[1])
        except StoreError as error:
            self._damage.note(piece.name, error)
            return []
        self._damage.note(piece.name, "a column is damaged", part.damaged)
        names = known.get(part.schema_id, ())
        if len(names) != part.values.shape[1]:
            self._damage.note(piece.name, "its schema is gone")
            return []
        return [Window(names, part.ticks.astype(float), part.values)]
