"""What the analysis of a host remembers: one value in Redis, so that any worker can go on with it.

``or:analysis:{host}`` is a hash: ``tick``, the last tick that was learned; ``state``, every
estimator's memory, compressed; ``damaged``, how often a state could not be read. It is written at
first often, later once in SAVE_TICKS ticks, as it is 2 to 4 KB a series: whoever loads it learns
the rows since from the store, in order, and is where the writer was. So a state is a function of
the rows, and a tick is learned once:

- a tick that is delivered again, or late, is not newer than the state, and teaches nothing;
- of two workers that write, the one with the older tick is refused (compare-and-set, in a script);
- a state that is damaged or of another version is counted and begun anew.

Rows that came more than MOST_BEHIND_TICKS ago are not caught up with.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from outrider.analysis import spells
from outrider.analysis.anomaly_bank import AnomalyBank
from outrider.analysis.baseline_bank import DAY_S, BaselineBank
from outrider.analysis.changepoint import ChangeBank
from outrider.analysis.readings import Readings
from outrider.analysis.spells import Spell  # noqa: TC001 - msgspec reads the annotation
from outrider.errors import StoreError
from outrider.samples import bot_of, is_counter
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis
    from numpy.typing import NDArray

    from outrider.analysis.beginnings import Annotation
    from outrider.samples import Window

# At the default interval: a minute while little is known, then ten, and an hour.
LEAST_SAVE_TICKS, SAVE_TICKS, MOST_BEHIND_TICKS = 6, 60, 360
TTL_S = 14 * 86_400
# A series that was not seen for so long is forgotten.
FORGET_S = 2 * DAY_S
MOST_SERIES = 20_000
_GRAVITY = {"ok": 0, "warning": 1, "critical": 2}
_MAGIC = b"OA2\0"
_SAVE = """
if tonumber(redis.call('HGET', KEYS[1], 'tick') or '-1') >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'tick', ARGV[1], 'state', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Found(msgspec.Struct, frozen=True):
    """A change point with its series. ``before`` and ``after`` as in ``changepoint.Change``."""

    series: str
    at_s: float
    seen_s: float
    kind: str
    before: float
    after: float
    spreads: float


class _Head(msgspec.Struct):
    tick: int
    names: list[str]
    verdict: str
    since_s: float
    better_s: float | None
    odd: dict[str, Spell]
    sizes: list[int]


@dataclass
class HostState:
    """Every estimator of one host. ``names`` are its series, in the order of the estimators."""

    tick: int = -1
    names: list[str] = field(default_factory=list)
    # The state that the last report gave, and since when it has been that.
    verdict: str = ""
    since_s: float = 0.0
    # Since when it has been better than that.
    better_s: float | None = None
    # The series that are odd at present.
    odd: dict[str, Spell] = field(default_factory=dict)
    readings: Readings = field(default_factory=Readings)
    normal: BaselineBank = field(default_factory=BaselineBank)
    changes: ChangeBank = field(default_factory=ChangeBank)
    detectors: AnomalyBank = field(default_factory=lambda: AnomalyBank(0))

    def learn(
        self, window: Window, annotations: Iterable[Annotation] = (), *, interval_s: float
    ) -> list[Found]:
        """Learn the ticks of a window that are newer than the state; return the changes found."""
        ticks = np.floor(window.times_s / interval_s + 0.5).astype(np.int64)
        found: list[Found] = []
        noted = sorted(annotations, key=lambda each: each.at_s)
        fresh = np.flatnonzero(ticks > self.tick)
        if not len(fresh):
            return found
        places = self._align(window.names, float(window.times_s[fresh[-1]]))
        counters = np.array([is_counter(name) for name in self.names], dtype=bool)
        for line in fresh.tolist():
            before_s = self.normal.at_s
            at_s = float(window.times_s[line])
            for each in noted:
                if before_s < each.at_s <= at_s:
                    self.normal.annotate(self._of(each))
            row = np.full(len(self.names), np.nan)
            row[places] = window.values[line]
            found += self._tick(at_s, row, counters, noted)
            self.tick = int(ticks[line])
        return found

    def is_due(self, stored_tick: int) -> bool:
        """Tell whether it is time to write the state; ``stored_tick`` is that of what is stored."""
        learned = self.detectors.clock.ticks
        wait = min(max(learned // 4, LEAST_SAVE_TICKS), SAVE_TICKS)
        return stored_tick < 0 or self.tick - stored_tick >= wait

    def judged(self, window: Window) -> NDArray[np.float64]:
        """Return the values of a window's last tick as they are judged, by series of the state."""
        readings = Readings(len(window.names))
        counters = np.array([is_counter(name) for name in window.names], dtype=bool)
        judged = np.full(len(window.names), np.nan)
        for at_s, row in zip(window.times_s[-3:].tolist(), window.values[-3:], strict=True):
            judged = readings.update(at_s, row, counters)
        by_name = dict(zip(window.names, judged.tolist(), strict=True))
        return np.array([by_name.get(name, np.nan) for name in self.names], dtype=np.float64)

    def settle(self, verdict: str, at_s: float, *, patience_s: float) -> tuple[float, bool]:
        """Take the verdict of a tick; return since when it has been that, and whether it is news.

        A worse one is news at once, a better one when it has lasted for ``patience_s``.
        """
        if verdict == self.verdict:
            self.better_s = None
            return self.since_s, False
        if _GRAVITY.get(verdict, 0) < _GRAVITY.get(self.verdict, -1):
            self.better_s = at_s if self.better_s is None else self.better_s
            if at_s - self.better_s < patience_s:
                return self.better_s, False
            at_s = self.better_s
        self.verdict, self.since_s, self.better_s = verdict, at_s, None
        return at_s, True

    def dumps(self) -> bytes:
        """Return the state as bytes."""
        banks = (self.readings, self.normal, self.changes, self.detectors)
        parts = [bank.dumps() for bank in banks]
        head = msgspec.msgpack.encode(
            _Head(self.tick, self.names, self.verdict, self.since_s, self.better_s, self.odd,
                  [len(part) for part in parts])
        )  # fmt: skip
        body = b"".join((struct.pack("<I", len(head)), head, *parts))
        return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    @classmethod
    def loads(cls, packed: bytes) -> HostState:
        """Return the state of a ``dumps``. Raises StoreError when it is damaged or foreign."""
        body = packed[8:]
        if packed[:4] != _MAGIC or packed[4:8] != struct.pack("<I", zlib.crc32(body)):
            raise StoreError("a host's analysis is damaged, or of another version.")
        try:
            size = struct.unpack_from("<I", body)[0]
            head = msgspec.msgpack.decode(body[4 : 4 + size], type=_Head)
        except (struct.error, ValueError) as error:  # msgspec's errors are ValueErrors
            raise StoreError(f"a host's analysis can't be read: {error}.") from None
        made = cls(head.tick, head.names, head.verdict, head.since_s, head.better_s, head.odd)
        ends = list(itertools.accumulate(head.sizes, initial=4 + size))
        if len(head.sizes) != 4 or ends[-1] != len(body):  # noqa: PLR2004 - as many as estimators
            raise StoreError("a host's analysis is cut short.")
        parts = [body[start:end] for start, end in itertools.pairwise(ends)]
        tables: list[Readings | BaselineBank | ChangeBank]
        tables = [made.readings, made.normal, made.changes]
        for bank, part in zip(tables, parts, strict=False):
            bank.loads(part)
        made.detectors = AnomalyBank.loads(parts[-1])
        counts = {bank.table.count for bank in tables} | {made.detectors.count}
        if counts != {len(head.names)}:
            raise StoreError("a host's analysis has other series than its estimators.")
        return made

    def _tick(
        self,
        at_s: float,
        row: NDArray[np.float64],
        counters: NDArray[np.bool_],
        noted: Sequence[Annotation],
    ) -> list[Found]:
        judged = self.readings.update(at_s, row, counters)
        season = self.normal.season(at_s)
        self.normal.update(at_s, judged)
        # These know counters themselves: one that began anew says nothing, instead of its growth.
        scores = self.detectors.update(at_s, row)
        spells.follow(
            self.odd, at_s, judged, scores, names=self.names, bank=self.detectors, noted=noted
        )
        return [
            Found(self.names[each.place], each.at_s, each.seen_s, each.kind,
                  each.before, each.after, each.spreads)
            for each in self.changes.update(at_s, judged - season)
        ]  # fmt: skip

    def _of(self, annotation: Annotation) -> NDArray[np.bool_]:
        return np.array([annotation.concerns(bot_of(name)) for name in self.names], dtype=bool)

    def _align(self, names: Sequence[str], now_s: float) -> NDArray[np.int64]:
        """Take new series in, forget those long gone, and return the places of these names."""
        known = {name: place for place, name in enumerate(self.names)}
        fresh = [name for name in names if name not in known][: MOST_SERIES - len(known)]
        if fresh:
            gone = now_s - self.normal.table["seen_s"] > FORGET_S
            kept = [place for place, out in enumerate(gone.tolist()) if not out]
            order = np.array([*kept, *[-1] * len(fresh)], dtype=np.int64)
            for bank in (self.readings, self.normal, self.changes):
                bank.table.select(order)
            self.names = [self.names[place] for place in kept] + fresh
            self.detectors.select(order, counters=[is_counter(name) for name in self.names])
            known = {name: place for place, name in enumerate(self.names)}
        return np.array([known[name] for name in names], dtype=np.int64)


def load(client: redis.Redis, host: str) -> HostState:
    """Return a host's state; a new one when there is none, or when it is damaged: that is counted.

    Raises redis.RedisError when the server is away.
    """
    packed = cast("bytes | None", client.hget(keys.analysis(host), "state"))
    if packed is None:
        return HostState()
    try:
        return HostState.loads(packed)
    except StoreError:
        # Out of the way, so that the new one, whose tick may be the same, can be written.
        with client.pipeline(transaction=True) as pipe:
            pipe.hincrby(keys.analysis(host), "damaged", 1)
            pipe.hdel(keys.analysis(host), "state", "tick")
            pipe.execute()
        return HostState()


def save(client: redis.Redis, host: str, state: HostState) -> bool:
    """Write a state unless one as new is there. Return whether it was written."""
    script = client.register_script(_SAVE)
    given: list[Any] = [state.tick, state.dumps(), TTL_S]
    return bool(script(keys=[keys.analysis(host)], args=given))


def damaged(client: redis.Redis, host: str) -> int:
    """Return how many states of a host could not be read."""
    return int(cast("bytes | None", client.hget(keys.analysis(host), "damaged")) or 0)
