"""The tier inside the process: bounded, with a time to live a value, and quick where it counts.

``get`` takes no lock: it looks in one dictionary and adds one to a counter. All else (who goes
when it is full, what the uses teach, what has expired) is done under the lock by whoever sets,
deletes, or comes to :meth:`MemoryCache.expire`. What makes that safe, also without the lock of the
interpreter: an entry's value is written before its expiry and read after it, so that nobody pairs
an old value with a new expiry; an entry that was removed has no value, and who still has it in hand
finds it missing. (Its husk waits in its queue for a while, and must not keep the value alive.)

A value can also be *shown*: put, under any name, into a plain dictionary that its owner reads
directly. ``@outrider.cached`` does that; a hit then touches neither this class nor a clock. The
cache takes it out of there when it changes, goes or expires: on time when somebody calls
:meth:`MemoryCache.expire` on time, as :mod:`outrider.cache.sweeper` does.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from outrider.cache import sizes
from outrider.cache.eviction import GONE, Queues, Slot
from outrider.cache.expiry import Wheel, take_out
from outrider.cache.learning import Learner
from outrider.clock import SYSTEM
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from outrider.cache.curve import MissRatioCurve
    from outrider.clock import Clock

EVICTED, EXPIRED = "evicted", "expired"
# Expired entries are removed so many at a time; others get the lock in between.
_AT_ONCE = 256
# Where bytes are what is short, the room is divided anew when so much more or less fits.
_FITS_WITHIN = 0.1
_FOREVER = math.inf
_Gone = tuple[Any, Any, str]  # key, value, why


class _Entry(Slot):
    """One value. ``shown_as`` is its name in the dictionary it is shown in, if ``front`` is."""

    __slots__ = (
        "bucket", "call", "counted", "front", "key", "kind", "shown", "shown_as", "shown_until_s",
        "size_bytes", "until_s", "value",
    )  # fmt: skip

    # Only set on an entry that was shown: see MemoryCache.show.
    call: Any
    counted: int
    kind: Any
    shown: Any
    shown_as: Hashable
    shown_until_s: float

    def __init__(self, digest: int, key: Any, value: Any, until_s: float, size_bytes: int) -> None:
        self.digest = digest
        self.uses = 0
        self.served = 0
        self.seen = 0
        self.level = 0
        self.place = 0
        self.promised = False
        self.is_watched = False
        self.key = key
        self.value = value
        self.until_s = until_s
        self.size_bytes = size_bytes
        self.bucket: dict[Any, None] | None = None
        self.front: dict[Any, Any] | None = None


class MemoryStats(NamedTuple):
    """What a memory cache did since it was made, and holds now."""

    entries: int
    size_bytes: int
    hits: int
    misses: int
    evicted: int
    expired: int
    too_large: int


class MemoryCache:
    """Keeps at most ``capacity`` entries, and ``capacity_bytes`` if given. Safe for threads.

    Values are handed out as they were put in, not copied: do not change them. Who goes when it is
    full is chosen by how keys are used (:mod:`outrider.cache.eviction`), not by age alone.

    Args:
        capacity: the most entries.
        capacity_bytes: the most bytes, by ``size_of`` or :func:`outrider.cache.sizes.estimate`. A
            value that is larger by itself is not kept.
        size_of: ``size_of(key, value)`` in bytes.
        listener: called with key, value and ``"evicted"`` or ``"expired"`` after an entry went by
            itself; not under a lock, and in the thread that made it go.

    >>> cache = MemoryCache(2)
    >>> cache.set("a", 1), cache.set("b", 2), cache.get("a"), cache.set("c", 3)
    (None, None, 1, None)
    >>> cache.get("b", "gone"), len(cache)
    ('gone', 2)
    """

    def __init__(
        self,
        capacity: int,
        *,
        capacity_bytes: int | None = None,
        size_of: Callable[[Any, Any], int] | None = None,
        listener: Callable[[Any, Any, str], None] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        if capacity < 1:
            raise BadArgument(
                f"capacity = {capacity} holds nothing; give at least 1, such as 1000."
            )
        if capacity_bytes is not None and capacity_bytes < 1:
            raise BadArgument(
                f"capacity_bytes = {capacity_bytes} holds nothing; give at least 1, such as "
                "64 * 2**20, or None for no bound."
            )
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.evicted = self.expired = self.too_large = self.missed = 0
        self.size_bytes = 0
        self._size_of = size_of or (None if capacity_bytes is None else _estimated)
        self._listener = listener
        # The machine's own clock without a method around it: 60 of 250 ns.
        self._monotonic = time.monotonic if clock is SYSTEM else clock.monotonic
        self._lock = threading.RLock()  # a finaliser or signal handler may come back in
        self._entries: dict[Hashable, _Entry] = {}
        self._find = self._entries.get
        self._learner = Learner(capacity)
        self._learned_for = capacity
        self._queues = Queues(capacity, self._learner.shape)
        self._shown: dict[Hashable, _Entry] = {}
        self._wheel = Wheel()
        self._next_s = _FOREVER
        self._came = 0
        self._gone_uses = 0
        # Uses of what is shown no more, not yet counted: see served().
        self.left: list[tuple[Any, int]] = []
        self.is_timely = clock is SYSTEM  # a thread can call expire() on time
        _ALL.add(self)

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return the live value of ``key``, or ``default``."""
        entry = self._find(key)
        if entry is None:
            self.missed += 1
            return default
        if entry.until_s is not _FOREVER and entry.until_s <= self._monotonic():
            self.missed += 1
            self.expire()
            return default
        try:
            value = entry.value
        except AttributeError:  # removed by another thread just now
            return default
        entry.uses += 1
        return value

    def peek(self, key: Hashable, default: Any = None) -> Any:
        """Return what ``get`` would, without counting it as a use."""
        entry = self._find(key)
        if entry is None or entry.until_s <= self._monotonic():
            return default
        return getattr(entry, "value", default)

    def set(
        self,
        key: Hashable,
        value: Any,
        ttl_s: float | None = None,
        *,
        size_bytes: int | None = None,
    ) -> None:
        """Keep a value for ``ttl_s`` seconds, or until it is evicted.

        A time to live of zero or less has passed already: the key is then forgotten. ``size_bytes``
        saves asking for the size.
        """
        now_s, until_s = 0.0, _FOREVER
        if ttl_s is not None and ttl_s != _FOREVER:
            if not ttl_s > 0:
                self.delete(key)
                return
            now_s = self._monotonic()
            until_s = now_s + ttl_s
        if size_bytes is None:
            size_bytes = 0 if self._size_of is None else self._size_of(key, value)
        out: list[_Gone] = []  # freed only after the lock
        with self._lock:
            old = self._entries.get(key)
            if old is not None:
                # Written in this order, and the old value freed after the lock.
                if old.front is not None:
                    self._hide(old)
                value, old.value = old.value, value
                old.until_s = until_s
                self.size_bytes += size_bytes - old.size_bytes
                old.size_bytes = size_bytes
                entry = old
            else:
                entry = _Entry(hash((key,)), key, value, until_s, size_bytes)
                self._add(entry, out)
            if self.capacity_bytes is not None:
                self._fit(entry, out)
            if entry.bucket is not None or until_s is not _FOREVER:
                self._time(entry, now_s, out)
        if out and self._listener is not None:
            self._tell(out)

    def delete(self, key: Hashable) -> bool:
        """Forget ``key``. Return whether it was there, live or expired."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return False
            value = self._remove(entry)
        del value  # not under the lock: it may have a finaliser
        return True

    def clear(self) -> None:
        """Forget everything. What was learned of the use of keys stays."""
        with self._lock:
            values = [self._remove(entry) for entry in list(self._entries.values())]
        values.clear()

    def expire(self) -> float:
        """Remove what has expired. Return when to come again, by the monotonic clock.

        Nobody has to call it: an expired value is never returned by ``get``, and is removed when
        something with a time to live is set. Only what is *shown* goes on time by this alone.
        """
        while True:
            out: list[_Gone] = []
            with self._lock:
                now_s = self._monotonic()
                more = self._take(now_s, out)
                next_s = self._next_s
            if out and self._listener is not None:
                self._tell(out)
            if not more:
                return next_s

    def show(
        self,
        key: Hashable,
        value: Any,
        front: dict[Any, Any],
        *,
        name: Hashable,
        shown: Any,
        kind: Any = None,
        call: Any = None,
        for_s: float = _FOREVER,
    ) -> float | None:
        """Put ``shown`` into ``front[name]`` for as long as ``value`` is what ``key`` has.

        What stands there has the attributes ``shown``, ``kind``, ``call`` and ``served``; whoever
        reads it adds one to ``served`` for each use. Return when :meth:`expire` must be called for
        it to go on time, or None when the value is no longer there.
        """
        with self._lock:
            entry = self._entries.get(key)
            now_s = self._monotonic()
            if entry is None or entry.value is not value or entry.until_s <= now_s or for_s <= 0:
                return None
            if entry.front is not None:
                self._hide(entry)
            before = front.get(name)
            if before is not None:
                self._hide(before)
            entry.shown, entry.kind, entry.call = shown, kind, call
            entry.shown_as, entry.front = name, front
            entry.counted = entry.served
            entry.shown_until_s = min(entry.until_s, now_s + for_s)
            if entry.shown_until_s is not _FOREVER:
                self._wheel.file(entry, entry.shown_until_s, now_s)
                self._next_s = min(self._next_s, self._wheel.next_s())
            front[name] = self._shown[key] = entry
            return self._next_s

    def served(self) -> list[tuple[Any, int]]:
        """Return the ``call`` of what is or was shown, with its uses since this was asked last."""
        with self._lock:
            found, self.left = self.left, []
            for entry in self._shown.values():
                served = entry.served
                if served != entry.counted:
                    found.append((entry.call, served - entry.counted))
                    entry.counted = served
        return found

    def explain(self, key: Hashable) -> dict[str, Any]:
        """Return what is known of a key here: whether it is held, since when used, until when."""
        with self._lock:
            entry = self._entries.get(key)
            now_s = self._monotonic()
            if entry is None or entry.until_s <= now_s:
                return {"in_memory": False}
            return {
                "in_memory": True,
                "expires_in_s": None if entry.until_s == _FOREVER else entry.until_s - now_s,
                "uses": entry.uses + entry.served,
                "queue": ("gone", "window", "probation", "main")[entry.place],
                "is_shown": entry.front is not None,
            }

    def hit_ratio_at(self, factor: float) -> float:
        """Return the hit ratio to be expected with so many times the room; NaN before any use.

        What was measured, and what the curve says the other size adds or takes.
        """
        counted = self.stats()
        uses = counted.hits + self._came  # what was asked for and never set can't be helped
        if not uses:
            return math.nan
        room = self._queues.limit
        curve = self.curve
        gain = curve.at(room, uses) - curve.at(room * factor, uses)
        return max(0.0, min(1.0, counted.hits / uses + gain))

    def __len__(self) -> int:
        """Return how many entries are held; some may have expired an instant ago."""
        if self._next_s is not _FOREVER:
            self.expire()
        return len(self._entries)

    def stats(self) -> MemoryStats:
        """Return counts since the start. Reads every entry: 30 ns each."""
        with self._lock:
            entries = list(self._entries.values())
            hits = self._gone_uses + sum(entry.uses + entry.served for entry in entries)
        return MemoryStats(
            entries=len(entries),
            size_bytes=self.size_bytes,
            hits=hits,
            misses=self.missed,
            evicted=self.evicted,
            expired=self.expired,
            too_large=self.too_large,
        )

    @property
    def curve(self) -> MissRatioCurve:
        """The miss-ratio curve of the uses so far."""
        with self._lock:
            self._learner.read()
        return self._learner.curve

    def hottest(self, count: int) -> list[tuple[Hashable, int]]:
        """Return the keys used most since they came, with their uses."""
        with self._lock:
            entries = list(self._entries.values())
        entries.sort(key=lambda entry: entry.uses + entry.served, reverse=True)
        return [(entry.key, entry.uses + entry.served) for entry in entries[:count]]

    def _add(self, entry: _Entry, out: list[_Gone]) -> None:
        if len(self._entries) >= self.capacity:
            self._evict(out)
        self.size_bytes += entry.size_bytes
        self._entries[entry.key] = entry
        queues, learner = self._queues, self._learner
        queues.admit(entry)
        self._came += 1
        learner.comes(entry)
        if learner.chooser.shape is not queues.shape:
            queues.resize(queues.limit, learner.chooser.shape)

    def _evict(self, out: list[_Gone]) -> None:
        victim: Any = self._queues.evict()
        if victim is not None:
            del self._entries[victim.key]
            self.evicted += 1
            out.append((victim.key, self._leave(victim), EVICTED))

    def _fit(self, entry: _Entry, out: list[_Gone]) -> None:
        """Evict until the bytes fit; then divide the room by the entries that do."""
        assert self.capacity_bytes is not None
        if entry.size_bytes > self.capacity_bytes:
            self._remove(entry)  # the caller of set() has the value still
            self.too_large += 1
            return
        while self.size_bytes > self.capacity_bytes:
            self._evict(out)
        held = len(self._entries)
        fits = min(self.capacity, int(held * self.capacity_bytes / (self.size_bytes or 1)) or 1)
        limit = self._queues.limit
        if abs(fits - limit) > limit * _FITS_WITHIN:
            self._queues.resize(fits)
            if not self._learned_for / 2 < fits < self._learned_for * 2:
                self._learned_for = fits
                self._learner.resize(fits)

    def _time(self, entry: _Entry, now_s: float, out: list[_Gone]) -> None:
        """File an entry by its new expiry, and remove what has expired meanwhile."""
        if entry.place == GONE or entry.until_s is _FOREVER:
            take_out(entry)
            return
        self._wheel.file(entry, entry.until_s, now_s)
        if now_s >= self._next_s:
            self._take(now_s, out)
        self._next_s = min(self._next_s, entry.until_s)

    def _remove(self, entry: _Entry) -> Any:
        """Take an entry out; return its value, to be freed when the lock is."""
        del self._entries[entry.key]
        self._queues.forget(entry)
        return self._leave(entry)

    def _leave(self, entry: _Entry) -> Any:
        if entry.front is not None:
            self._hide(entry)
        if entry.is_watched:
            self._learner.goes(entry)
        if entry.bucket is not None:
            take_out(entry)
        self.size_bytes -= entry.size_bytes
        self._gone_uses += entry.uses + entry.served
        value = entry.value
        del entry.value
        return value

    def _hide(self, entry: _Entry) -> None:
        front = entry.front
        entry.front = None
        del entry.shown  # who has it in hand looks again: see outrider.sdk.wrapper
        self._shown.pop(entry.key, None)
        if front is not None and front.get(entry.shown_as) is entry:
            del front[entry.shown_as]
        if entry.served != entry.counted:
            self.left.append((entry.call, entry.served - entry.counted))
            entry.counted = entry.served

    def _take(self, now_s: float, out: list[_Gone]) -> bool:
        """Remove some of what has expired. Return whether there may be more."""
        taken = self._wheel.take(now_s, _AT_ONCE)
        for entry in taken:
            if entry.until_s <= now_s:
                out.append((entry.key, self._remove(entry), EXPIRED))
                self.expired += 1
                continue
            if entry.front is not None and entry.shown_until_s <= now_s:
                self._hide(entry)
            due_s = entry.until_s if entry.front is None else entry.shown_until_s
            if due_s is not _FOREVER:
                self._wheel.file(entry, due_s, now_s)
        self._next_s = self._wheel.next_s()
        return len(taken) == _AT_ONCE

    def _tell(self, out: list[_Gone]) -> None:
        assert self._listener is not None
        for key, value, why in out:
            self._listener(key, value, why)

    def _after_fork(self) -> None:
        """Begin with a free lock in a child; empty, if another thread was at work in the parent."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.RLock()
        for entry in self._entries.values():
            if entry.front is not None:
                entry.front.clear()
        self._entries.clear()
        self._shown.clear()
        self._learner = Learner(self.capacity)
        self._queues = Queues(self.capacity, self._learner.shape)
        self._wheel = Wheel()
        self._next_s = _FOREVER
        self.size_bytes = 0


def _estimated(key: Any, value: Any) -> int:
    return sizes.estimate(key) + sizes.estimate(value)


_ALL: weakref.WeakSet[MemoryCache] = weakref.WeakSet()


def _in_child() -> None:
    for cache in list(_ALL):
        cache._after_fork()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_in_child)
