"""How a value is found or loaded when memory does not have it: the plans of a cache.

::

    fill:  Redis ── value ─────────────────────────────────► keep, return
             │ nothing, or too old
             ▼
           lease ── held by another process ── wait for word ─┐
             │ ours: a token                   └──────────────┘ (and ask again)
             ▼
           load ──► write with the token ── fenced out ─────► return, keep nowhere
                                         └─ written ────────► keep, return

With Redis away there is no lease, and what is loaded is owed to it. Waiting for another process is
by push, and by a patience that grows in case a push is lost; nobody waits on a connection. Loads
that wait for each other across processes would do so for ever: after ``PATIENCE_S`` the lease is
taken.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider.cache import held as life
from outrider.cache.hearing import DEAF_S
from outrider.cache.held import Held
from outrider.cache.plan import LOAD, Failed
from outrider.cache.slot import AWAY, Slot
from outrider.errors import StoreError

if TYPE_CHECKING:
    from outrider.cache.calls import Call
    from outrider.cache.codec import Codec, Entry
    from outrider.cache.flight import Flight, Flights
    from outrider.cache.patterns import NamespaceUse
    from outrider.cache.plan import Plan
    from outrider.cache.redis import RedisTier, Space
    from outrider.cache.shelf import Shelf
    from outrider.cache.statistics import Statistics
    from outrider.clock import Clock

# Between two looks at a load of another process, when no push comes.
FIRST_LOOK_S, LAST_LOOK_S = 0.05, 1.0
PATIENCE_S = 15.0
WORTH_S = 0.001  # a load that takes less is waited for sooner than refreshed ahead
_NEVER_NEWER_S = 10.0**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """For how long values of one namespace live."""

    ttl_s: float
    stale_s: float = 0.0
    negative_s: float | None = None  # of None; as any value when not given
    errors_s: float = 0.0
    jitter: float = life.JITTER

    def fresh_s(self, value: Any, namespace: str, key: str) -> float:
        """Return how long a value is fresh."""
        ttl_s = self.ttl_s
        if value is None and self.negative_s is not None:
            ttl_s = self.negative_s
        return life.jittered(ttl_s, self.jitter, namespace, key)

    def stale_after_s(self, value: Any) -> float:
        """Return how long it may be served after that; that nothing was there is not stretched."""
        return 0.0 if value is None and self.negative_s is not None else self.stale_s


@dataclass(slots=True, kw_only=True)
class Filling:
    """The plans of one cache, and what they work with."""

    namespace: str
    terms: Terms
    shelf: Shelf
    codec: Codec
    statistics: Statistics
    clock: Clock
    use: NamespaceUse | None
    remote: RedisTier | None
    space: Space | None = None
    tags: tuple[str, ...] = ()
    owner: Any  # the listener, which need not be told of its own writes

    def fill(self, call: Call, flight: Flight, flights: Flights) -> Plan:
        """Return the plan for a miss: find the value, or load it."""
        held: Held | None = self.shelf.memory.get(call.key)
        if held is not None:  # another caller has just landed
            self.statistics.hits_memory += 1
            return self.used(call, held)
        token, expected = "", None
        if self.remote is not None:
            found = yield from self._look(call, flight, flights)
            if type(found) is Held:
                return found.value if found.error is None else Failed(found.error)
            token, expected = found
        else:
            self.statistics.misses += 1
        return (yield from self._load(call, flight, flights, token, expected))

    def renew(self, call: Call, flight: Flight, flights: Flights, *, steal: bool) -> Plan:
        """Return the plan to load a key anew; beside others, or to steal the lease."""
        token, expected = "", None
        if self.remote is not None and (yield from self.open()):
            assert self.space is not None
            flights.renew(call.key, flight)
            expected = str(self.space.count)
            held = self.shelf.reserved(call.key)
            left_s = held.dies_s - self.clock.monotonic() if held else 0.0
            words = yield from self._acquire(
                call, "steal" if steal else "beside", newer_s=max(0.0, left_s) + 0.05
            )
            if words and words[0] == "held":
                return None
            if words and words[0] == "value":
                self._adopt(call, words[1], flight, flights)
                return None
            token = words[1].decode() if words else ""
        return (yield from self._load(call, flight, flights, token, expected))

    def open(self) -> Plan:
        """Return the plan to wait, briefly, until Redis may be used; it returns whether it may."""
        assert self.remote is not None
        assert self.space is not None
        for _ in range(2):  # for the connection, then for the namespace
            opening = self.remote.opening(self.space)
            if opening is None:
                break
            if (yield opening) is AWAY:
                return False
        return self.remote.link.is_up

    def peek(self, key: str) -> Plan:
        """Return the plan to look in Redis without loading; it returns an entry or None."""
        if self.remote is None or not (yield from self.open()):
            return None
        assert self.space is not None
        message = yield from self._asked(self.remote.get(self.space, key))
        return self.decode(message)

    def decode(self, message: Any) -> Entry[Any] | None:
        """Return what a message from Redis holds, or None."""
        if not isinstance(message, bytes):
            return None
        try:
            return self.codec.decode(message)
        except StoreError:
            self.statistics.unreadable += 1
            return None

    def used(self, call: Call, held: Held) -> Any:
        """Note a use of a held value, and return it."""
        if self.use is not None:
            now_s = self.clock.now()
            self.use.touch(call, now_s)
            if held.warmed_from_s is not None and now_s >= held.warmed_from_s:
                held.warmed_from_s = None
                self.statistics.warmed_hits += 1
                self.use.warmed_hit(call.key)
        return held.value

    def write(
        self,
        key: str,
        value: Any,
        *,
        tags: tuple[str, ...] = (),
        load_s: float = 0.0,
    ) -> tuple[Held, bytes]:
        """Return a value as memory and as Redis keep it.

        Raises:
            BadArgument: it can't be cached.
        """
        fresh_s = self.terms.fresh_s(value, self.namespace, key)
        message = self.codec.encode(value, expires_s=self.clock.now() + fresh_s)
        return self._held(value, fresh_s, load_s=load_s, tags=tags), message

    @property
    def most_s(self) -> float:
        """How long memory may keep what it would not hear an invalidation of."""
        remote = self.remote
        deaf = remote is not None and remote.link.is_up and remote.hearing.by == "nothing"
        return DEAF_S if deaf else math.inf

    def _look(self, call: Call, flight: Flight, flights: Flights) -> Plan:
        """Return a Held, or the token and the count of invalidations to load with."""
        remote = self.remote
        assert remote is not None
        if remote.is_away or not (yield from self.open()):
            return self._fallback(call, flight, flights)
        assert self.remote is not None
        assert self.space is not None
        flights.renew(call.key, flight)  # nothing was asked yet that could be old
        expected = str(self.space.count)
        message = yield from self._asked(self.remote.get(self.space, call.key))
        if message is AWAY:
            return self._fallback(call, flight, flights)
        if message is not None:
            found = self._adopt(call, message, flight, flights)
            if found is not None:
                return self._found(call, found)
        self.statistics.misses += 1
        mode = "miss" if message is None else "beside"
        look_s, since_s = FIRST_LOOK_S, time.monotonic()
        while True:
            watch = Slot(0.0)
            self.remote.hearing.watch(self.space, call.key, watch)
            try:
                flights.renew(call.key, flight)
                words = yield from self._acquire(call, mode, newer_s=_NEVER_NEWER_S)
                if not words:
                    return "", expected
                if words[0] == "lease":
                    return words[1].decode(), expected
                if words[0] == "value":
                    found = self._adopt(call, words[1], flight, flights)
                    if found is not None:
                        self.statistics.misses -= 1  # it was another process's
                        return self._found(call, found)
                    mode = "beside"
                    continue
                self.statistics.waits += look_s == FIRST_LOOK_S
                left_s = float(words[1]) / 1000 + 0.001
                watch.limit_s = min(left_s, look_s * random.uniform(0.8, 1.2))  # noqa: S311
                yield watch
            finally:
                self.remote.hearing.unwatch(self.space, call.key, watch)
            look_s = min(2 * look_s, LAST_LOOK_S)
            mode = "steal" if time.monotonic() - since_s > PATIENCE_S else "miss"

    def _acquire(self, call: Call, mode: str, *, newer_s: float) -> Plan:
        """Return the words of the answer, or None when there is none; a lease is held from now."""
        assert self.remote is not None
        assert self.space is not None
        slot = self.remote.acquire(
            self.space,
            call.key,
            mode=mode,
            newer_s=newer_s,
            life_s=self.terms.ttl_s + self.terms.stale_s,
            tags=self._tags(call),
        )
        words = self.remote.answer(self.space, (yield from self._asked(slot)))
        if words and words[0] == "lease":
            self.remote.hold(self.space, call.key, words[1].decode())
        return words

    def _load(
        self, call: Call, flight: Flight, flights: Flights, token: str, expected: str | None
    ) -> Plan:
        done = False
        try:
            start_s = time.perf_counter()
            value = yield LOAD
            load_s = time.perf_counter() - start_s
            if type(value) is Failed:
                self._failed(call, value.error, flight, flights, load_s)
                return value
            self.statistics.loads += 1
            self.statistics.load_s += load_s
            held, message = self.write(call.key, value, tags=self._tags(call), load_s=load_s)
            kept = True
            if self.remote is not None:
                # Without a lease nothing fences out what was invalidated meanwhile but the flight.
                kept = bool(token) or not flight.is_void
                if kept:
                    assert self.space is not None
                    expected = expected or str(self.space.count)
                    kept = yield from self.store(
                        call.key, held, message, token=token, expected=expected
                    )
            done = True
        finally:
            if token:
                assert self.remote is not None
                assert self.space is not None
                self.remote.let_go(self.space, call.key, token, failed=not done)
        if kept and flights.keep(flight, lambda: self.put(call.key, held)):
            self._note_load(call, held)
        return value

    def store(
        self, key: str, held: Held, message: bytes, *, token: str = "", expected: str = ""
    ) -> Plan:
        """Write to Redis; return whether memory may keep it too: unless Redis would not have it."""
        remote, space = self.remote, self.space
        assert remote is not None
        assert space is not None
        if not remote.is_away:
            yield from self.open()
        slot = remote.store(
            space,
            key,
            message,
            life_s=held.dies_s - held.kept_s,
            tags=held.tags,
            token=token,
            expected=expected,
        )
        outcome = "away" if slot is None else remote.stored(space, (yield slot))
        if outcome == "stored":
            remote.hearing.tell_others(space, key, self.owner)
        elif outcome in ("late", "moved"):
            self.statistics.fenced += 1
            return False
        else:
            self.statistics.unsent_writes += 1
            if outcome == "refused" and token:
                remote.let_go(space, key, token, failed=True)
        return True

    def _fallback(self, call: Call, flight: Flight, flights: Flights) -> Any:
        """Return what was held before Redis went, or that there is neither value nor token."""
        self.statistics.fallbacks += 1
        flights.renew(call.key, flight)  # what is loaded from here on is not what was missed
        held = self.shelf.reserved(call.key)
        if held is not None:
            flights.keep(flight, lambda: self.put(call.key, held))
            self.used(call, held)
            return held
        self.statistics.misses += 1
        return "", None

    def _found(self, call: Call, held: Held) -> Held:
        self.statistics.hits_redis += 1
        if held.fresh_until_s <= self.clock.monotonic():
            self.statistics.stale_hits += 1
        if self.use is not None:
            left_s = held.fresh_until_s - self.clock.monotonic()
            self.use.expires(call.key, self.clock.now() + left_s)
        self.used(call, held)
        return held

    def _adopt(self, call: Call, message: Any, flight: Flight, flights: Flights) -> Held | None:
        """Keep a value from Redis in memory. Return None when it can't be read, or is dead."""
        entry = self.decode(message)
        if entry is None:
            return None
        fresh_s = min(self.terms.ttl_s, entry.expires_s - self.clock.now())
        held = self._held(
            entry.value, fresh_s, tags=self._tags(call), warmed_from_s=entry.warmed_from_s
        )
        if held.dies_s <= held.kept_s:
            return None
        flights.keep(flight, lambda: self.put(call.key, held))
        if held.tags and entry.warmed_from_s is not None:
            assert self.remote is not None
            assert self.space is not None
            life_s = held.dies_s - held.kept_s
            self.remote.enrol(self.space, call.key, held.tags, life_s=life_s)
        return held

    def _held(
        self,
        value: Any,
        fresh_s: float,
        *,
        load_s: float = 0.0,
        tags: tuple[str, ...] = (),
        warmed_from_s: float | None = None,
    ) -> Held:
        counted = self.statistics
        load_s = load_s or (counted.load_s / counted.loads if counted.loads else 0.0)
        return Held(
            value,
            kept_s=self.clock.monotonic(),
            fresh_s=fresh_s,
            stale_s=self.terms.stale_after_s(value),
            ahead_s=life.ahead_s(load_s, random.random) if load_s > WORTH_S else 0.0,
            load_s=load_s,
            tags=tags,
            warmed_from_s=warmed_from_s,
        )

    def put(self, key: str, held: Held) -> None:
        """Keep a value on the shelf; the lock of the flights is held."""
        self.shelf.put(key, held, most_s=self.most_s)

    def _failed(
        self, call: Call, error: BaseException, flight: Flight, flights: Flights, load_s: float
    ) -> None:
        self.statistics.errors += 1
        if not (self.terms.errors_s and isinstance(error, Exception)):
            return
        before = self.shelf.reserved(call.key)
        if before is not None and before.error is None:
            return  # a stale value serves better than an error
        failed = Held(
            None,
            kept_s=self.clock.monotonic(),
            fresh_s=life.jittered(self.terms.errors_s, self.terms.jitter, self.namespace, call.key),
            load_s=load_s,
            tags=self._tags(call),
            error=error,
        )
        flights.keep(flight, lambda: self.put(call.key, failed))

    def _note_load(self, call: Call, held: Held) -> None:
        if self.use is not None:
            now_s = self.clock.now()
            self.use.touch(call, now_s)
            self.use.loaded(call.key, now_s + held.fresh_until_s - held.kept_s)

    def _asked(self, slot: Slot | None) -> Plan:
        return AWAY if slot is None else (yield slot)

    def _tags(self, call: Call) -> tuple[str, ...]:
        return self.tags + tuple(getattr(call, "tags", ()))
