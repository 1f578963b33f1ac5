"""StatsD datagrams, as programs send that were instrumented for something else, made into series.

Taken are counters, gauges, timings, histograms, distributions and sets, several lines a datagram,
several values a line, sample rates and DogStatsD's tags. A tally holds totals since it began, like
a bot's frame, so that whoever reads it may come late or twice. It lives in the supervisor, which
takes the datagrams (``outrider.supervisor.statsd``); the collector makes series of what it says.

What strangers may send is bounded: ``MOST_NAMES`` names, of which those unheard for an hour make
room for new ones, 2,048 buckets a timing, ``MOST_MEMBERS`` members a set. What does not
fit is counted in ``overflow``, what can't be read in ``refused``.

Timings keep counts in buckets of equal ratio (as DDSketch does: index = ceil(log(value) /
log(gamma)), gamma = 1.01 / 0.99), so that a quantile is at most 1 % off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outrider import samples, sketch
from outrider.metrics import folding

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_NAMES = 1000
MOST_MEMBERS = 10_000
FORGOTTEN_AFTER_S = 3600.0
# A set counts who was there in the last so many seconds.
SET_WINDOW_S = 60.0
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
_SWEEP_EVERY_S = 60.0
_LEAST_RATE = 1e-6
_TIMES, _VALUES = frozenset({b"ms"}), frozenset({b"h", b"d"})
# A total that falls would read as one that began anew.
_ONLY_MORE = frozenset({b"c"}) | _TIMES
_KINDS = frozenset({b"c", b"g", b"s"}) | _TIMES | _VALUES


@dataclass(slots=True)
class _Entry:
    """One name of one kind. ``total`` is a count's or gauge's value, or a timing's sum."""

    kind: bytes
    name: str
    at_s: float
    total: float = 0.0
    count: int = 0
    buckets: dict[int, int] = field(default_factory=dict)
    members: dict[int, float] = field(default_factory=dict)


class Tally:
    """Adds up datagrams. Not for two threads at once."""

    def __init__(self) -> None:
        self.packets = self.refused = self.overflow = 0
        self._entries: dict[tuple[bytes, str], _Entry] = {}
        # What was read before is not read again; None has no room.
        self._known: dict[tuple[bytes, bytes, bytes], _Entry | None] = {}
        self._swept_at_s = -math.inf

    def take(self, packet: bytes, now_s: float) -> int:
        """Add a datagram; return how many lines it had. Lines that can't be read are counted."""
        self.packets += 1
        lines = packet.split(b"\n")
        for line in lines:
            if line:
                try:
                    self._take(line.rstrip(b"\r"), now_s)
                except ValueError:
                    self.refused += 1
        return len(lines)

    def snapshot(self, now_s: float) -> dict[str, Any]:
        """Return all totals as plain data, by kind and name."""
        found: dict[str, Any] = {
            "packets": self.packets,
            "refused": self.refused,
            "overflow": self.overflow,
            "counters": {}, "gauges": {}, "sets": {}, "timings": {}, "values": {},
        }  # fmt: skip
        for entry in self._entries.values():
            match entry.kind:
                case b"c":
                    found["counters"][entry.name] = entry.total
                case b"g":
                    found["gauges"][entry.name] = entry.total
                case b"s":
                    _forget_members(entry, now_s)
                    found["sets"][entry.name] = len(entry.members)
                case kind:
                    where = "timings" if kind in _TIMES else "values"
                    found[where][entry.name] = [entry.count, entry.total, dict(entry.buckets)]
        return found

    def _take(self, line: bytes, now_s: float) -> None:
        """Add one line. Raises ValueError when it can't be read."""
        name, _, rest = line.partition(b":")
        values, kind, *extras = rest.split(b"|")
        rate, tags = 1.0, b""
        for extra in extras:
            if extra.startswith(b"@"):
                rate = float(extra[1:])
            elif extra.startswith(b"#"):
                tags = extra[1:]
        if not (name and kind in _KINDS and _LEAST_RATE <= rate <= 1):
            raise ValueError(line)
        numbers: list[Any] = values.split(b":")
        if kind != b"s":
            numbers = [_number(value) for value in numbers]
        if kind in _ONLY_MORE and min(numbers) < 0:
            raise ValueError(line)
        key = (name, tags, kind)
        entry = self._known[key] if key in self._known else self._enter(key, now_s)
        if entry is None:
            self.overflow += 1
            return
        entry.at_s = now_s
        # A sign makes of a gauge's value a change, as the protocol has it.
        _add(entry, numbers, changes=values[:1] in (b"+", b"-"), rate=rate, now_s=now_s)

    def _enter(self, key: tuple[bytes, bytes, bytes], now_s: float) -> _Entry | None:
        """Return the entry of a name that is read for the first time, if there is room for it."""
        name, tags, kind = key
        folded = folding.fold(name.decode("utf-8", "replace"), _labels(tags))
        entry = self._entries.get((kind, folded))
        if entry is None:
            if len(self._entries) >= MOST_NAMES:
                self._sweep(now_s)
            if len(self._entries) < MOST_NAMES:
                entry = self._entries[kind, folded] = _Entry(kind, folded, now_s)
        if len(self._known) >= 4 * MOST_NAMES:
            self._known.clear()
        self._known[key] = entry
        return entry

    def _sweep(self, now_s: float) -> None:
        """Forget names that were not heard for long, but do not look for them all the time."""
        if now_s - self._swept_at_s < _SWEEP_EVERY_S:
            return
        self._swept_at_s = now_s
        stale = [place for place, e in self._entries.items() if now_s - e.at_s > FORGOTTEN_AFTER_S]
        for place in stale:
            del self._entries[place]
        self._known.clear()


class StatsdCollector:
    """Makes ``statsd.*`` of what a tally says. Quantiles are of the time since the last call."""

    def __init__(self) -> None:
        self._before: dict[str, dict[int, int]] = {}

    def collect(self, said: Mapping[str, Any] | None, now_s: float) -> dict[str, float]:
        """Return the series; ``statsd.up`` 0 when nobody listens."""
        del now_s
        if said is None:
            return {"statsd.up": 0.0}
        values: dict[str, float] = {}
        for name, number in said["counters"].items():
            values[samples.total(f"statsd.{name}")] = round(number, 6)
        for name, number in (*said["gauges"].items(), *said["sets"].items()):
            values[f"statsd.{name}"] = float(number)
        now: dict[str, dict[int, int]] = {}
        for kind, end, sum_end in (("timings", "_s", "_s"), ("values", "", "_total")):
            for name, (count, total, plain) in said[kind].items():
                prefix = f"statsd.{name}"
                buckets = now[prefix] = {int(place): n for place, n in plain.items()}
                values[f"{prefix}.count"] = float(count)
                values[f"{prefix}.sum{sum_end}"] = round(total, 6)
                grown = sketch.difference(buckets, self._before.get(prefix, {}))
                for what, share in QUANTILES:
                    values[f"{prefix}.{what}{end}"] = quantile(grown, share)
        self._before = now
        own = {f"statsd.{what}_total": float(said[what]) for what in ("packets", "refused")}
        own |= {"statsd.overflow_total": float(said["overflow"]), "statsd.up": 1.0}
        if said.get("dropped") is not None:
            own["statsd.dropped_total"] = float(said["dropped"])
        return values | own


def quantile(buckets: Mapping[int, int], share: float) -> float:
    """Return a quantile of bucketed values to four digits, NaN of none: what is beyond is noise.

    >>> quantile({sketch.index(0.2): 99, sketch.index(5.0): 1}, 0.5)
    0.1999
    """
    return float(f"{sketch.quantile(buckets, share):.4g}")


def _add(entry: _Entry, numbers: list[Any], *, changes: bool, rate: float, now_s: float) -> None:
    """Add values; ``changes`` says that those of a gauge are added to it."""
    match entry.kind:
        case b"c":
            entry.total += sum(numbers) / rate
        case b"g":
            entry.total = entry.total + numbers[-1] if changes else numbers[-1]
        case b"s":
            for member in numbers:
                _join(entry, hash(member), now_s)
        case kind:
            scale = 0.001 if kind in _TIMES else 1.0
            for number in numbers:
                _observe(entry, number * scale, round(1 / rate))


def _join(entry: _Entry, member: int, now_s: float) -> None:
    if member not in entry.members and len(entry.members) >= MOST_MEMBERS:
        _forget_members(entry, now_s)
        if len(entry.members) >= MOST_MEMBERS:
            return
    entry.members[member] = now_s


def _observe(entry: _Entry, value: float, weight: int) -> None:
    place = sketch.index(value)
    entry.buckets[place] = entry.buckets.get(place, 0) + weight
    entry.count += weight
    entry.total += value * weight


def _number(text: bytes) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _labels(tags: bytes) -> dict[str, str]:
    """Return DogStatsD's tags; one without a value says that it is there."""
    found = {}
    for tag in tags.decode("utf-8", "replace").split(","):
        key, _, value = tag.partition(":")
        if key:
            found[key] = value or "yes"
    return found


def _forget_members(entry: _Entry, now_s: float) -> None:
    since_s = now_s - SET_WINDOW_S
    entry.members = {member: at_s for member, at_s in entry.members.items() if at_s >= since_s}
