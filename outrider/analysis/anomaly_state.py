"""The state of one anomaly detector as bytes: fixed layout, a version, a check sum.

Magic and version (4 bytes), CRC-32 of the rest (4), then scalars, the seasonal tables in single
precision as they are held, and the features' numbers. Never pickle: states come out of Redis.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from typing import TYPE_CHECKING

from outrider.analysis import anomaly_tuning as tuning
from outrider.errors import BadArgument, StoreError

if TYPE_CHECKING:
    from outrider.analysis.anomaly_detector import AnomalyDetector

_MAGIC = b"oad\x02"
_F, _K = tuning.FEATURES, tuning.DEFAULT.peaks
_TABLES = (tuning.DAY_BUCKETS, tuning.WEEK_BUCKETS) * 2
_LAYOUT = struct.Struct(f"<3?6q16d6d{sum(_TABLES)}f{_F}d{_F * _K}d{_F}d{_F}q")
SIZE = 8 + _LAYOUT.size


def dumps(detector: AnomalyDetector) -> bytes:
    """Return the state, always ``SIZE`` bytes. Raises BadArgument for a tuning of your own."""
    if detector.set_to != tuning.DEFAULT:
        raise BadArgument("only detectors with the shipped tuning have a state; leave out set_to")
    own, clock = detector, detector.clock
    body = _LAYOUT.pack(
        *(own.counter, own.is_flat, own.is_new),
        *(own.samples, clock.ticks, own.alarmed_at, own.run, own.longest, own.moves),
        *(
            clock.last_s,
            clock.step_s,
            clock.age,
            clock.faded,
            clock.horizon,
            clock.seen_s,
            own.born_s,
            own.scale,
            own.evidence,
            own.total,
        ),
        *(own.last, own.lowest, own.highest, own.since_s, *own.counted),
        *own.levels,
        *(value for table in own.tables for value in table),
        *own.residuals,
        *(value for row in own.smoothed for value in row),
        *(peak for each in own.peaks for peak in each + [math.nan] * (_K - len(each))),
        *own.tallest,
        *own.tallest_at,
    )
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def loads(state: bytes, into: AnomalyDetector) -> AnomalyDetector:
    """Fill a fresh detector. Raises StoreError when the bytes are not such a state."""
    if len(state) != SIZE or state[:4] != _MAGIC:
        raise StoreError(
            f"anomaly state of {len(state)} bytes beginning {state[:4]!r}: expected {SIZE} bytes "
            f"beginning {_MAGIC!r}. It is of another version; delete it, and it is learned anew."
        )
    body = state[8:]
    if struct.unpack("<I", state[4:8])[0] != zlib.crc32(body):
        raise StoreError("anomaly state: its check sum is wrong. Delete it; it is learned anew.")
    values = iter(_LAYOUT.unpack(body))

    def take(count: int) -> list[float]:
        return [next(values) for _ in range(count)]

    clock = into.clock
    into.counter, into.is_flat, into.is_new = map(bool, take(3))
    into.samples, clock.ticks, into.alarmed_at, into.run, into.longest, into.moves = map(
        int, take(6)
    )
    clock.last_s, clock.step_s, clock.age, clock.faded, clock.horizon = take(5)
    clock.seen_s, into.born_s, into.scale, into.evidence, into.total = take(5)
    into.last, into.lowest, into.highest, into.since_s, counted_s, counted = take(6)
    into.counted = (counted_s, counted)
    into.levels = tuple(take(6))
    into.tables = [array("f", take(size)) for size in _TABLES]
    into.residuals = take(_F // 4)
    into.smoothed = [(a, b, c) for a, b, c in (take(3) for _ in range(_F // 4))]
    into.peaks = [[peak for peak in take(_K) if not math.isnan(peak)] for _ in range(_F)]
    into.tallest = take(_F)
    into.tallest_at = [int(at) for at in take(_F)]
    into.per_scale = [1.0 / into.set_to.scale_of(each) if each else 0.0 for each in into.peaks]
    into.renew()
    return into
