"""Two tiers as one cache: memory in front of Redis, one load a key, never a wait for a dead server.

::

    call ─► memory ─ hit ─► value
              │ miss
              ▼            (from here on one caller a key; the others wait for its result)
            Redis ── hit ─► memory ─► value
              │ miss, or away
              ▼
            load ─► memory and Redis ─► value

Memory is not told yet of invalidations in other processes: it may serve an old value until its
time to live ends. Asynchronous callers reach Redis through a few threads, so that one client and
one breaker serve both worlds and a slow server never blocks an event loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from outrider.cache.flight import Flight, Flights
from outrider.cache.memory import MemoryCache
from outrider.cache.statistics import Statistics
from outrider.clock import SYSTEM
from outrider.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from concurrent.futures import Executor

    from outrider.cache.calls import Call
    from outrider.cache.codec import Codec, Entry
    from outrider.cache.front import Front
    from outrider.cache.patterns import NamespaceUse
    from outrider.cache.redis import RedisTier
    from outrider.clock import Clock


class _Held:
    """A value in memory, and since when a hit on it is owed to warming."""

    __slots__ = ("value", "warmed_from_s")

    def __init__(self, value: Any, warmed_from_s: float | None = None) -> None:
        self.value = value
        self.warmed_from_s = warmed_from_s


class TieredCache:
    """One namespace. Without ``remote`` it keeps values in memory only.

    ``threads`` run what may block when the caller is asynchronous; ``use`` is told of every use.
    """

    def __init__(
        self,
        namespace: str,
        *,
        ttl_s: float,
        codec: Codec,
        capacity: int = 10_000,
        remote: RedisTier | None = None,
        threads: Executor | None = None,
        use: NamespaceUse | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.namespace = namespace
        self.ttl_s = ttl_s
        self.statistics = Statistics()
        self._memory = MemoryCache(capacity, clock=clock)
        self._remote = remote
        self._codec = codec
        self._threads = threads
        self._use = use
        self._clock = clock
        self._flights = Flights()

    def __len__(self) -> int:
        """Return how many values are in memory."""
        return len(self._memory)

    @property
    def is_away(self) -> bool:
        """Whether Redis is configured and does not answer."""
        return self._remote is not None and self._remote.breaker.is_open

    @property
    def memory(self) -> MemoryCache:
        """The tier in this process."""
        return self._memory

    def show(self, call: Call, front: Front, *, name: Hashable, kind: Any) -> None:
        """Let a caller serve a value by itself, for as long as a hit has nothing to decide."""
        held = self._memory.peek(call.key)
        if held is not None and held.warmed_from_s is None:
            front.show(call, held, name=name, kind=kind, shown=held.value)

    def served(self, call: Call, count: int) -> None:
        """Count hits on a value that was shown."""
        self.statistics.hits_memory += count
        if self._use is not None:
            self._use.touch(call, self._clock.now(), count)

    def explain(self, key: str) -> dict[str, Any]:
        """Return what is known of a key: whether memory has it, until when, and Redis."""
        found = self._memory.explain(key)
        entry = self._from_redis(key)
        left_s = None if entry is None else entry.expires_s - self._clock.now()
        return found | {"in_redis": entry is not None, "expires_in_redis_in_s": left_s}

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is cached, without loading, counting or noting a use."""
        held = self._memory.get(key)
        if held is not None:
            return held.value
        entry = self._from_redis(key)
        return default if entry is None else entry.value

    def set(self, key: str, value: Any) -> None:
        """Keep a value in both tiers.

        Raises:
            BadArgument: the value can't be cached.
        """
        expires_s = self._clock.now() + self.ttl_s
        message = self._codec.encode(value, expires_s=expires_s)
        self._memory.set(key, _Held(value), self.ttl_s)
        if self._remote is None:
            return
        if not self._remote.set(self.namespace, key, message, self.ttl_s):
            self.statistics.unsent_writes += 1

    def invalidate(self, key: str) -> None:
        """Forget a key in both tiers; a load under way will not bring the old value back."""
        self._flights.forget(key)
        self._memory.delete(key)
        if self._remote is not None and not self._remote.delete(self.namespace, key):
            self.statistics.unsent_invalidations += 1

    def load(self, call: Call, loader: Callable[[], Any]) -> Any:
        """Return the cached value of a call, or load it. What the loader raises is not cached."""
        held = self._memory.get(call.key)
        if held is not None:
            return self._hit(call, held)
        return self._flights.run(
            call.key, lambda flight: self._fill(call, loader, flight), joined=self._waits
        )

    async def load_async(self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do as :meth:`load` does for an asynchronous loader."""
        held = self._memory.get(call.key)
        if held is not None:
            return self._hit(call, held)
        return await self._flights.run_async(
            call.key, lambda flight: self._fill_async(call, loader, flight), joined=self._waits
        )

    def refresh(self, call: Call, loader: Callable[[], Any]) -> Any:
        """Load anew whatever is cached. If the loader raises, the old value stays."""
        self._flights.forget(call.key)
        return self._flights.run(
            call.key, lambda flight: self._load(call, loader, flight), joined=self._waits
        )

    async def refresh_async(
        self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Do as :meth:`refresh` does for an asynchronous loader."""
        self._flights.forget(call.key)
        return await self._flights.run_async(
            call.key, lambda flight: self._load_async(call, loader, flight), joined=self._waits
        )

    async def apart(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something that may wait for Redis, without blocking the event loop."""
        import asyncio

        remote = self._remote
        if remote is None or not remote.breaker.might_allow():
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _fill(self, call: Call, loader: Callable[[], Any], flight: Flight) -> Any:
        found = self._look(call, flight)
        return self._load(call, loader, flight) if found is None else found.value

    async def _fill_async(
        self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]], flight: Flight
    ) -> Any:
        found = await self.apart(self._look, call, flight)
        return await self._load_async(call, loader, flight) if found is None else found.value

    def _load(self, call: Call, loader: Callable[[], Any], flight: Flight) -> Any:
        start = time.perf_counter()
        try:
            value = loader()
        except BaseException:
            self.statistics.errors += 1
            raise
        self._loaded(time.perf_counter() - start)
        self._keep(call, value, flight)
        return value

    async def _load_async(
        self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]], flight: Flight
    ) -> Any:
        start = time.perf_counter()
        try:
            value = await loader()
        except BaseException:
            self.statistics.errors += 1
            raise
        self._loaded(time.perf_counter() - start)
        await self.apart(self._keep, call, value, flight)
        return value

    def _look(self, call: Call, flight: Flight) -> _Held | None:
        """Look in both tiers: memory again, for another caller may just have landed."""
        held: _Held | None = self._memory.get(call.key)
        if held is not None:
            self._hit(call, held)
            return held
        entry = self._from_redis(call.key)
        if entry is None:
            self.statistics.misses += 1
            return None
        self.statistics.hits_redis += 1
        held = _Held(entry.value, entry.warmed_from_s)
        left_s = min(self.ttl_s, entry.expires_s - self._clock.now())
        self._memory.set(call.key, held, left_s)
        if flight.is_void():  # invalidated since Redis was asked
            self._memory.delete(call.key)
        if self._use is not None:
            self._use.expires(call.key, entry.expires_s)
        self._used(call, held)
        return held

    def _from_redis(self, key: str) -> Entry[Any] | None:
        if self._remote is None:
            return None
        message = self._remote.get(self.namespace, key)
        if not isinstance(message, bytes):
            self.statistics.fallbacks += message is not None
            return None
        try:
            return self._codec.decode(message)
        except StoreError:
            self.statistics.unreadable += 1
            return None

    def _keep(self, call: Call, value: Any, flight: Flight) -> None:
        if flight.is_void():
            return
        self.set(call.key, value)
        if flight.is_void():  # invalidated while it was being written
            self.invalidate(call.key)
        elif self._use is not None:
            now_s = self._clock.now()
            self._use.touch(call, now_s)
            self._use.loaded(call.key, now_s + self.ttl_s)

    def _hit(self, call: Call, held: _Held) -> Any:
        self.statistics.hits_memory += 1
        self._used(call, held)
        return held.value

    def _used(self, call: Call, held: _Held) -> None:
        if self._use is None:
            return
        now_s = self._clock.now()
        self._use.touch(call, now_s)
        if held.warmed_from_s is not None and now_s >= held.warmed_from_s:
            held.warmed_from_s = None
            self.statistics.warmed_hits += 1
            self._use.warmed_hit(call.key)

    def _loaded(self, seconds: float) -> None:
        self.statistics.loads += 1
        self.statistics.load_s += seconds

    def _waits(self) -> None:
        self.statistics.waits += 1
