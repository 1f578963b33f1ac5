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
from outrider.errors import StoreError

if TYPE_CHECKING:
    from outrider.analysis.anomaly_detector import AnomalyDetector

_MAGIC = b"oad\x01"
_F, _K = tuning.FEATURES, tuning.DEFAULT.peaks
_TABLES = (tuning.DAY_BUCKETS, tuning.WEEK_BUCKETS) * 2
_LAYOUT = struct.Struct(f"<3q4d6d{sum(_TABLES)}f{_F * 3 // 4}d{_F * _K}d{_F}d{_F}d{_F}q")
SIZE = 8 + _LAYOUT.size


def dumps(detector: AnomalyDetector) -> bytes:
    """Return the state; its size is always ``SIZE``."""
    clock = detector.clock
    peaks = [each + [math.nan] * (_K - len(each)) for each in detector.peaks]
    body = _LAYOUT.pack(
        *(detector.samples, clock.ticks, detector.alarmed_at),
        *(clock.last_s, clock.step_s, clock.faded, detector.scale),
        *detector.levels,
        *(value for table in detector.tables for value in table),
        *(value for at, value in enumerate(detector.smoothed) if at % 4),
        *(peak for each in peaks for peak in each),
        *detector.tallest,
        *detector.bounds,
        *detector.tallest_at,
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
    into.samples, clock.ticks, into.alarmed_at = map(int, take(3))
    clock.last_s, clock.step_s, clock.faded, into.scale = take(4)
    into.levels = take(6)
    into.tables = [array("f", take(size)) for size in _TABLES]
    into.smoothed = [value for _ in range(_F // 4) for value in (0.0, *take(3))]
    into.peaks = [[peak for peak in take(_K) if not math.isnan(peak)] for _ in range(_F)]
    into.tallest, into.bounds = take(_F), take(_F)
    into.tallest_at = [int(at) for at in take(_F)]
    into.limits = [min(pair) for pair in zip(into.tallest, into.bounds, strict=True)]
    into.per_scale = [1.0 / into.set_to.scale_of(each) if each else 0.0 for each in into.peaks]
    return into
