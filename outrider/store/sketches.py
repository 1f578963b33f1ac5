"""Keeps the sketches of timings in Redis, in the same three tiers as series.

A tick's sketches lie in a hash of their chunk, all series in one field: an append is one round
trip. When enough lie there, or the chunk is over, they are *folded* into a second hash with one
compressed field a series, so that reading one does not fetch all. Before raw ticks are folded, the
five minutes and hours that they touch are made anew from all sketches in them: safe to repeat, and
right also for ticks that came late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import redis

from outrider import sketch
from outrider.clock import tick_at, tick_start
from outrider.errors import StoreError
from outrider.store import buckets, keys
from outrider.store.tiers import FIVE_MINUTES_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.settings import Retention
    from outrider.store.buckets import Buckets, Sketches

    Roll = Callable[[list[float]], object]

# Ticks that lie loose before they are folded; a loose one costs three times a folded one.
FOLD_AT = 60
_TTL_MARGIN_S = 7200
_DAY_S = 86_400
_FINEST_SHARE = 100  # a merge over a range reads steps of a hundredth of it


@dataclass(frozen=True, slots=True)
class _Tier:
    """Where sketches of one step lie, and for how long."""

    prefix: str
    step_s: float
    chunk_s: int
    kept_s: float
    replaces: bool = True  # a newer sketch of a time counts; of raw ticks the first does

    def key(self, host: str, chunk: int) -> str:
        return f"{self.prefix}:{host}:{chunk}"

    def chunks(self, host: str) -> str:
        return f"{self.prefix}:{host}:chunks"

    def chunk_of(self, at_s: float) -> int:
        return int(at_s // self.chunk_s) * self.chunk_s


class SketchStore:
    """Sketches of one fleet: appended by tick, read as quantiles over any range.

    A damaged or forged block is skipped and counted in ``damaged``; a sketch that is none is not
    taken, and counted in ``refused``. Methods raise redis.RedisError when the server is away.
    """

    def __init__(
        self, client: redis.Redis, *, interval_s: float = 10.0, retention: Retention
    ) -> None:
        self.damaged = 0
        self.refused = 0
        self._redis = client
        raw_chunk_s = int(max(HOUR_S, HOUR_S * round(interval_s / 10)))
        self._tiers = (
            _Tier(keys.SKETCHES, interval_s, raw_chunk_s, retention.raw, replaces=False),
            _Tier(keys.SKETCHES_5M, FIVE_MINUTES_S, _DAY_S, retention.five_minutes),
            _Tier(keys.SKETCHES_1H, HOUR_S, 30 * _DAY_S, retention.hours),
        )

    def append(self, host: str, tick: int, sketches: Mapping[str, Mapping[int, int]]) -> bool:
        """Keep what each timing saw in a tick. One round trip; the first delivery counts.

        Returns False when the tick has sketches already, or none of these is one. One that is
        folded already may be taken again, and does not count then either.
        """
        kept: Sketches = {}
        for series, seen in list(sketches.items())[: buckets.MOST_SERIES]:
            try:
                if found := buckets.checked(seen):
                    kept[series] = found
            except StoreError:
                self.refused += 1
        raw = self._tiers[0]
        return bool(kept) and self._put(raw, host, tick_start(tick, raw.step_s), kept)

    def quantiles(
        self,
        host: str,
        series: str,
        start_s: float,
        end_s: float,
        wanted: Sequence[float],
        *,
        points: int = 300,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(times_s [n], durations_s [n, len(wanted)])``, one row a step with any calls.

        Steps are those of the coarsest tier that gives ``points`` of them, as in ``query``; more
        are merged.
        """
        pixel_s = (end_s - start_s) / points
        found = self._read(host, series, start_s, end_s, pixel_s)
        if len(found) > points:
            places: dict[float, list[Buckets]] = {}
            for at_s in sorted(found):
                place = min(max((at_s - start_s) // pixel_s, 0), points - 1)
                places.setdefault(start_s + place * pixel_s, []).append(found[at_s])
            found = {at_s: sketch.merge(*many) for at_s, many in places.items()}
        table = [sketch.quantiles(found[at_s], wanted) for at_s in sorted(found)]
        return np.array(sorted(found)), np.array(table).reshape(len(found), len(wanted))

    def merged(self, host: str, series: str, start_s: float, end_s: float) -> Buckets:
        """Return the sketch of a whole range; empty when the timing has none there."""
        pixel_s = (end_s - start_s) / _FINEST_SHARE
        return sketch.merge(*self._read(host, series, start_s, end_s, pixel_s).values())

    def seal(self, host: str, now_s: float) -> int:
        """Roll up and fold what is due. Return how many chunks were folded. Safe to repeat."""
        raw, *coarser = self._tiers
        folded = self._fold_due(raw, host, now_s, lambda times: self._roll_up(host, times))
        return folded + sum(self._fold_due(tier, host, now_s) for tier in coarser)

    def heal(self, host: str, now_s: float, *, since_s: float) -> int:
        """Make roll-ups of a time that are over and missing. Return how many five minutes."""
        raw, five, _ = self._tiers
        over_s = tick_start(tick_at(now_s - 2 * raw.step_s, FIVE_MINUTES_S), FIVE_MINUTES_S)
        there = self._all(five, host, since_s - FIVE_MINUTES_S, over_s)
        times = [
            at_s
            for at_s in self._all(raw, host, since_s, over_s)
            if at_s // FIVE_MINUTES_S * FIVE_MINUTES_S not in there
        ]
        return self._roll_up(host, times)

    def expire(self, host: str, now_s: float) -> int:
        """Forget chunks beyond the retention. Return how many."""
        old = 0
        for tier in self._tiers:
            before_s = now_s - tier.kept_s
            for chunk in self._chunks(tier, host, 0, before_s):
                if chunk + tier.chunk_s <= before_s:
                    key = tier.key(host, chunk)
                    self._redis.delete(key, f"{key}:sealed")
                    self._redis.zrem(tier.chunks(host), chunk)
                    old += 1
        return old

    def _put(self, tier: _Tier, host: str, at_s: float, sketches: Sketches) -> bool:
        chunk = tier.chunk_of(at_s)
        key, ttl_s = tier.key(host, chunk), int(tier.kept_s) + tier.chunk_s + _TTL_MARGIN_S
        block = buckets.encode({at_s: sketches}, chunk)
        with self._redis.pipeline(transaction=True) as pipe:
            if tier.replaces:
                pipe.hset(key, repr(at_s), block)
            else:
                pipe.hsetnx(key, repr(at_s), block)
            pipe.expire(key, ttl_s)
            pipe.zadd(tier.chunks(host), {str(chunk): chunk})
            pipe.expire(tier.chunks(host), ttl_s)
            return bool(pipe.execute()[0])

    def _roll_up(self, host: str, times: Iterable[float]) -> int:
        """Make anew the five minutes and hours that times lie in. Return how many five minutes."""
        made = 0
        touched = list(times)
        for coarser in (1, 2):
            finer, tier = self._tiers[coarser - 1], self._tiers[coarser]
            starts = sorted({at_s // tier.step_s * tier.step_s for at_s in touched})
            for start_s in starts:
                found = self._all(finer, host, start_s, start_s + tier.step_s)
                names = {series for sketches in found.values() for series in sketches}
                merged = {
                    name: sketch.merge(*(s[name] for s in found.values() if name in s))
                    for name in sorted(names)
                }
                if merged:
                    self._put(tier, host, start_s, merged)
                    made += coarser == 1
        return made

    def _fold_due(
        self, tier: _Tier, host: str, now_s: float, before_commit: Roll | None = None
    ) -> int:
        folded = 0
        chunks = self._chunks(tier, host, 0, now_s)
        with self._redis.pipeline(transaction=False) as pipe:
            for chunk in chunks:
                pipe.hlen(tier.key(host, chunk))
            many = cast("list[int]", pipe.execute())
        for chunk, loose in zip(chunks, many, strict=True):
            over = chunk + tier.chunk_s <= now_s - tier.step_s
            if loose and (over or loose >= FOLD_AT):
                folded += self._fold(tier, host, chunk, before_commit)
        return folded

    def _fold(self, tier: _Tier, host: str, chunk: int, before_commit: Roll | None) -> bool:
        """Move loose sketches into the sealed hash; False when more came meanwhile."""
        key = tier.key(host, chunk)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.watch(key, f"{key}:sealed")  # type: ignore[no-untyped-call]
            loose = cast("dict[bytes, bytes]", pipe.hgetall(key))
            sealed = cast("dict[bytes, bytes]", pipe.hgetall(f"{key}:sealed"))
            fresh = self._loose(loose, chunk)
            if before_commit:
                before_commit(list(fresh))
            both = self._both(tier, fresh, self._sealed(sealed.values(), chunk))
            by_series: dict[str, dict[float, Sketches]] = {}
            for at_s, sketches in both.items():
                for series, seen in sketches.items():
                    by_series.setdefault(series, {})[at_s] = {series: seen}
            changed = {series for sketches in fresh.values() for series in sketches}
            pipe.multi()
            for series in sorted(changed):
                pipe.hset(f"{key}:sealed", series, buckets.encode(by_series[series], chunk))
            pipe.expire(f"{key}:sealed", int(tier.kept_s) + tier.chunk_s + _TTL_MARGIN_S)
            pipe.hdel(key, *loose)
            try:
                pipe.execute()
            except redis.WatchError:
                return False
        return True

    def _read(
        self, host: str, series: str, start_s: float, end_s: float, pixel_s: float
    ) -> dict[float, Buckets]:
        """Return the sketches of a series by time, from the tiers that fit and have them."""
        if end_s <= start_s:
            return {}
        fitting = [at for at, tier in enumerate(self._tiers) if at and tier.step_s <= pixel_s]
        level = max(fitting, default=0)
        found = self._newest_from_finer(level, host, series, start_s, end_s)
        for coarser in range(level + 1, len(self._tiers)):
            first_s = min(found, default=end_s)
            if first_s <= start_s + self._tiers[level].step_s:
                break
            old = self._one(self._tiers[coarser], host, series, start_s, first_s)
            found = _joined(old, found, self._tiers[coarser].step_s)
        return found

    def _newest_from_finer(
        self, level: int, host: str, series: str, start_s: float, end_s: float
    ) -> dict[float, Buckets]:
        own = self._one(self._tiers[level], host, series, start_s, end_s)
        if level == 0:
            return own
        from_s = max(own, default=start_s)
        fine = self._newest_from_finer(level - 1, host, series, from_s, end_s)
        return _joined(own, fine, self._tiers[level].step_s)

    def _one(
        self, tier: _Tier, host: str, series: str, start_s: float, end_s: float
    ) -> dict[float, Buckets]:
        start_s = start_s // tier.step_s * tier.step_s
        found = self._all(tier, host, start_s, end_s, series)
        return {at_s: sketches[series] for at_s, sketches in found.items() if series in sketches}

    def _all(
        self, tier: _Tier, host: str, start_s: float, end_s: float, series: str | None = None
    ) -> dict[float, Sketches]:
        """Return the sketches in ``[start_s, end_s)`` by time: all, or those of one series."""
        chunks = self._chunks(tier, host, start_s, end_s)
        with self._redis.pipeline(transaction=True) as pipe:
            for chunk in chunks:
                key = tier.key(host, chunk)
                pipe.hgetall(key)
                if series is None:
                    pipe.hgetall(f"{key}:sealed")
                else:
                    pipe.hmget(f"{key}:sealed", [series])
            answers = pipe.execute() if chunks else []
        found: dict[float, Sketches] = {}
        for chunk, loose, sealed in zip(chunks, answers[::2], answers[1::2], strict=True):
            blocks = sealed.values() if series is None else filter(None, sealed)
            found |= self._both(tier, self._loose(loose, chunk), self._sealed(blocks, chunk))
        return {at_s: found[at_s] for at_s in sorted(found) if start_s <= at_s < end_s}

    def _chunks(self, tier: _Tier, host: str, start_s: float, end_s: float) -> list[int]:
        found = self._redis.zrangebyscore(tier.chunks(host), start_s - tier.chunk_s, end_s)
        return [int(chunk) for chunk in cast("list[bytes]", found)]

    def _loose(self, fields: Mapping[bytes, bytes], chunk: int) -> dict[float, Sketches]:
        found: dict[float, Sketches] = {}
        for block in fields.values():
            found |= self._decoded(block, chunk)
        return found

    def _sealed(self, blocks: Iterable[bytes], chunk: int) -> dict[float, Sketches]:
        found: dict[float, Sketches] = {}
        for block in blocks:
            for at_s, sketches in self._decoded(block, chunk).items():
                found.setdefault(at_s, {}).update(sketches)
        return found

    def _decoded(self, block: bytes, chunk: int) -> dict[float, Sketches]:
        try:
            return buckets.decode(block, chunk)
        except StoreError:
            self.damaged += 1
            return {}

    @staticmethod
    def _both(
        tier: _Tier, loose: Mapping[float, Sketches], sealed: Mapping[float, Sketches]
    ) -> dict[float, Sketches]:
        first, then = (sealed, loose) if tier.replaces else (loose, sealed)
        return {at_s: {**first.get(at_s, {}), **then.get(at_s, {})} for at_s in {*loose, *sealed}}


def _joined(
    coarse: dict[float, Buckets], fine: dict[float, Buckets], step_s: float
) -> dict[float, Buckets]:
    """Join older steps with the finer ones that begin in the last of them, or later.

    That step counts unless the finer ones saw as much as it did.
    """
    if not coarse:
        return fine
    newest_s = max(coarse)
    within = {at_s for at_s in fine if at_s < newest_s + step_s}
    if sum(sum(fine[at_s].values()) for at_s in within) >= sum(coarse[newest_s].values()):
        del coarse[newest_s]
        return coarse | fine
    return coarse | {at_s: seen for at_s, seen in fine.items() if at_s not in within}
