"""Two tiers as one cache: memory before Redis, one load a key in the fleet, no wait for the dead.

::

    call ─► memory ─ hit ─► value
              │ miss
              ▼
            reserve ─ due for a refresh, or stale ─► value, and one load beside it
              │ nothing
              ▼            (from here on one caller a key; the others wait for its result)
            Redis, or a lease to load ─► value          (see outrider.cache.filling)

Memory is told of what other processes change (:mod:`outrider.cache.hearing`). What is told makes
the loads under way void in the same step in which it makes memory forget, so that no read that
begins afterwards returns what was there before. When the connection is lost, memory is emptied, for
nobody knows what it missed; what it held comes back only if Redis stays away, and goes when Redis
returns.

What is not covered: between an invalidation in one process and its arrival in another, some 100 us,
the other serves the value before it; cut off from a Redis that others still reach, a process serves
what it has until its time to live ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.cache import held as life
from outrider.cache.filling import Filling, Terms
from outrider.cache.flight import Flights
from outrider.cache.plan import drive, drive_async, no_loader
from outrider.cache.shelf import Shelf
from outrider.cache.slot import AWAY
from outrider.cache.statistics import Statistics
from outrider.clock import SYSTEM
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from concurrent.futures import Executor

    from outrider.cache.background import Background
    from outrider.cache.calls import Call
    from outrider.cache.codec import Codec
    from outrider.cache.front import Front
    from outrider.cache.held import Held
    from outrider.cache.memory import MemoryCache
    from outrider.cache.patterns import NamespaceUse
    from outrider.cache.plan import Plan
    from outrider.cache.redis import RedisTier
    from outrider.clock import Clock

TIERS = ("both", "memory", "redis")


class TieredCache:
    """One namespace. Without ``remote`` it keeps values in memory only.

    Args:
        namespace: its name in Redis.
        ttl_s: seconds for which a value is fresh; ``jitter`` shortens it by up to that share.
        codec: how values become bytes.
        stale_s: seconds for which a value is served after that, while it is loaded beside.
        negative_s: seconds for which None is kept; as any value by default.
        errors_s: seconds for which an exception of the loader is raised again, in this process.
        tier: ``both``, ``memory`` (this process alone) or ``redis`` (no memory in front of it).
        loader_version: values of another version are not used, nor overwritten.
        tags: borne by every value, beside those that a call brings along.
        capacity: how many values memory keeps.
        remote: the connection to Redis.
        threads: where :meth:`apart` waits.
        use: is told of every use.
        clock: of the tests.

    Raises:
        BadArgument: a value is out of range.
    """

    def __init__(
        self,
        namespace: str,
        *,
        ttl_s: float,
        codec: Codec,
        stale_s: float = 0.0,
        negative_s: float | None = None,
        errors_s: float = 0.0,
        jitter: float = life.JITTER,
        tags: tuple[str, ...] = (),
        tier: str = "both",
        loader_version: str = "",
        capacity: int = 10_000,
        remote: RedisTier | None = None,
        threads: Executor | None = None,
        use: NamespaceUse | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        _check(stale_s=stale_s, negative_s=negative_s, errors_s=errors_s)
        _check_choices(jitter, tier, loader_version, needs_memory=bool(stale_s or errors_s))
        self.namespace = namespace
        self.ttl_s = ttl_s
        self.statistics = Statistics()
        self._remote = remote if tier != "memory" else None
        self._threads = threads
        self._clock = clock
        self._background: Background | None = None
        self._flights, self._refreshes = Flights(), Flights()
        self._shelf = Shelf(
            capacity,
            clock=clock,
            has_memory=tier != "redis" or remote is None,
            has_reserve=(self._remote is not None and tier != "redis")
            or stale_s > 0
            or errors_s > 0,
        )
        self._filling = Filling(
            namespace=namespace,
            terms=Terms(
                ttl_s=ttl_s,
                stale_s=stale_s,
                negative_s=negative_s,
                errors_s=errors_s,
                jitter=jitter,
            ),
            tags=tags,
            shelf=self._shelf,
            codec=codec,
            statistics=self.statistics,
            clock=clock,
            use=use,
            remote=self._remote,
            owner=self,
        )
        if self._remote is not None:
            self._filling.space = self._remote.attach(namespace, loader_version, self)

    def __len__(self) -> int:
        """Return how many values are in memory."""
        return len(self._shelf.memory)

    @property
    def memory(self) -> MemoryCache:
        """What hits read. What is in it may be served; see outrider.cache.held."""
        return self._shelf.memory

    def show(self, call: Call, front: Front, *, name: Hashable, kind: Any) -> None:
        """Let a caller serve a value by itself, for as long as a hit has nothing to decide."""
        held = self._shelf.memory.peek(call.key)
        if held is not None and held.warmed_from_s is None:
            front.show(call, held, name=name, kind=kind, shown=held.value)

    def served(self, call: Call, count: int) -> None:
        """Count hits on a value that was shown."""
        self.statistics.hits_memory += count
        if self._filling.use is not None:
            self._filling.use.touch(call, self._clock.now(), count)

    @property
    def is_away(self) -> bool:
        """Whether Redis is configured and does not answer."""
        return self._remote is not None and self._remote.breaker.is_open

    def load(self, call: Call, loader: Callable[[], Any]) -> Any:
        """Return the cached value of a call, or load it. What the loader raises is not cached."""
        held = self._shelf.memory.get(call.key)
        if held is not None:
            self.statistics.hits_memory += 1
            return self._filling.used(call, held)
        held = self._reserved(call.key)
        if held is not None:
            if self._is_due(call.key, held):
                self._refresh_beside(call, loader)
            return self._serve(call, held)
        return self._flights.run(
            call.key,
            lambda flight: drive(self._filling.fill(call, flight, self._flights), loader),
            joined=self._waits,
        )

    async def load_async(self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do as :meth:`load` does for an asynchronous loader, without blocking the event loop."""
        held = self._shelf.memory.get(call.key)
        if held is not None:
            self.statistics.hits_memory += 1
            return self._filling.used(call, held)
        held = self._reserved(call.key)
        if held is not None:
            if self._is_due(call.key, held):
                self._refresh_beside_async(call, loader)
            return self._serve(call, held)
        return await self._flights.run_async(
            call.key,
            lambda flight: drive_async(self._filling.fill(call, flight, self._flights), loader),
            joined=self._waits,
        )

    def refresh(self, call: Call, loader: Callable[[], Any]) -> Any:
        """Load anew whatever is cached or being loaded. If that raises, the old value stays."""
        self._flights.forget(call.key, _nothing)
        return self._flights.run(call.key, self._renewing(call, loader), joined=self._waits)

    async def refresh_async(
        self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Do as :meth:`refresh` does, for an asynchronous loader."""
        self._flights.forget(call.key, _nothing)
        return await self._flights.run_async(
            call.key,
            lambda flight: drive_async(
                self._filling.renew(call, flight, self._flights, steal=True), loader
            ),
            joined=self._waits,
        )

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is cached, without loading, counting or noting a use."""
        held = self._shelf.memory.get(key)
        return held.value if held is not None else drive(self._peek(key, default), no_loader)

    async def get_async(self, key: str, default: Any = None) -> Any:
        """Do as :meth:`get` does, without blocking the event loop."""
        held = self._shelf.memory.get(key)
        if held is not None:
            return held.value
        return await drive_async(self._peek(key, default), no_loader)

    def set(self, key: str, value: Any, *, tags: tuple[str, ...] = ()) -> None:
        """Keep a value in both tiers, whatever is there or being loaded.

        Raises:
            BadArgument: the value can't be cached.
        """
        drive(self._set(key, value, tags), no_loader)

    async def set_async(self, key: str, value: Any, *, tags: tuple[str, ...] = ()) -> None:
        """Do as :meth:`set` does, without blocking the event loop."""
        await drive_async(self._set(key, value, tags), no_loader)

    def invalidate(self, key: str) -> None:
        """Forget a key in every process; no load under way brings the old value back."""
        drive(self._tell("k", key, lambda: self.told_key(key)), no_loader)

    async def invalidate_async(self, key: str) -> None:
        """Do as :meth:`invalidate` does, without blocking the event loop."""
        await drive_async(self._tell("k", key, lambda: self.told_key(key)), no_loader)

    def invalidate_tag(self, tag: str) -> None:
        """Forget all keys that bear a tag, as :meth:`invalidate` does one."""
        drive(self._tell("t", tag, lambda: self.told_tag(tag)), no_loader)

    async def invalidate_tag_async(self, tag: str) -> None:
        """Do as :meth:`invalidate_tag` does, without blocking the event loop."""
        await drive_async(self._tell("t", tag, lambda: self.told_tag(tag)), no_loader)

    def invalidate_namespace(self) -> None:
        """Forget every key of the namespace, as :meth:`invalidate` does one; at no cost a key."""
        drive(self._tell("n", "", self._forget_all), no_loader)

    async def invalidate_namespace_async(self) -> None:
        """Do as :meth:`invalidate_namespace` does, without blocking the event loop."""
        await drive_async(self._tell("n", "", self._forget_all), no_loader)

    def explain(self, key: str) -> dict[str, Any]:
        """Return what is known of a key here and now: where it is, until when, and who may tell."""
        now_s = self._clock.monotonic()
        held = self._shelf.memory.get(key)
        found: dict[str, Any] = {"namespace": self.namespace, "key": key, "in_memory": bool(held)}
        held = held or self._shelf.reserved(key)
        if held is not None:
            found |= {
                "age_s": round(now_s - held.kept_s, 3),
                "fresh_for_s": round(held.fresh_until_s - now_s, 3),
                "refresh_in_s": round(held.refresh_s - now_s, 3),
                "dies_in_s": round(held.dies_s - now_s, 3),
                "load_s": round(held.load_s, 6),
                "tags": list(held.tags),
                "error": None if held.error is None else repr(held.error),
            }
        found["is_loading"] = key in self._flights or key in self._refreshes
        if self._remote is None:
            return found | {"redis": "not used"}
        found |= drive(self._explain(self._remote, key), no_loader)
        return found

    async def apart(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something of this cache that may wait for Redis, without blocking the event loop."""
        import asyncio

        remote = self._remote
        if remote is None or remote.is_away:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    # What the connection tells, in its thread.

    def told_key(self, key: str) -> None:
        """Forget a key, and what is being loaded of it."""
        self._forget(key, lambda: self._shelf.drop(key))

    def told_tag(self, tag: str) -> None:
        """Forget what bears a tag. Loads of it elsewhere are fenced out by Redis; ours end void."""

        def drop() -> None:
            self._shelf.drop_tag(tag)

        self._flights.forget_all(lambda: self._refreshes.forget_all(drop))

    def told_all(self) -> None:
        """Forget everything; from now on Redis is listened to."""
        self._forget_all()

    def lost(self) -> None:
        """Trust nothing until :meth:`told_all`."""
        self._flights.forget_all(lambda: self._refreshes.forget_all(self._shelf.distrust))

    def forked(self) -> None:
        """Begin anew in a child: locks may be held by threads that are not there."""
        self._flights, self._refreshes = Flights(), Flights()
        self._background = None
        self._shelf.begin()

    def _forget(self, key: str, drop: Callable[[], object]) -> None:
        self._flights.forget(key, lambda: self._refreshes.forget(key, drop))

    def _forget_all(self) -> None:
        self._flights.forget_all(lambda: self._refreshes.forget_all(self._shelf.clear))

    def _reserved(self, key: str) -> Held | None:
        """Return what may be served without asking Redis, though memory does not have it."""
        if not self._shelf.is_trusted:
            remote = self._remote
            if remote is not None and not remote.is_away:
                return None
        return self._shelf.reserved(key)

    def _serve(self, call: Call, held: Held) -> Any:
        if held.error is not None:
            self.statistics.hits_memory += 1
            raise held.error.with_traceback(None)  # or it would grow with every caller
        now_s = self._clock.monotonic()
        self.statistics.hits_memory += 1
        if held.fresh_until_s <= now_s:
            self.statistics.stale_hits += 1
        elif held.refresh_s > now_s:  # not due: hits may find it in memory again
            self._flights.keep_free(lambda: self._shelf.recall(call.key, held))
        return self._filling.used(call, held)

    def _is_due(self, key: str, held: Held) -> bool:
        """Tell whether to load beside; then not again for a while, should that fail."""
        now_s = self._clock.monotonic()
        if held.error is not None or held.refresh_s > now_s or key in self._refreshes:
            return False
        held.refresh_s = now_s + life.RETRY_S
        return True

    def _refresh_beside(self, call: Call, loader: Callable[[], Any]) -> None:
        self.statistics.refreshes += 1
        work = self._renewing(call, loader, beside=True)
        self._beside().start(call.key, lambda: self._refreshes.run(call.key, work, joined=_nothing))

    def _refresh_beside_async(
        self, call: Call, loader: Callable[[], Coroutine[Any, Any, Any]]
    ) -> None:
        self.statistics.refreshes += 1
        work = self._refreshes.run_async(
            call.key,
            lambda flight: drive_async(
                self._filling.renew(call, flight, self._refreshes, steal=False), loader
            ),
            joined=_nothing,
        )
        self._beside().start_async(call.key, work)

    def _renewing(
        self, call: Call, loader: Callable[[], Any], *, beside: bool = False
    ) -> Callable[[Any], Any]:
        flights = self._refreshes if beside else self._flights
        return lambda flight: drive(
            self._filling.renew(call, flight, flights, steal=not beside), loader
        )

    def _beside(self) -> Background:
        if self._background is None:
            from outrider.cache.background import Background

            self._background = Background(self.namespace)
        return self._background

    def _peek(self, key: str, default: Any) -> Plan:
        held = self._reserved(key)
        if held is not None and held.error is None:
            return held.value
        entry = yield from self._filling.peek(key)
        return default if entry is None else entry.value

    def _set(self, key: str, value: Any, tags: tuple[str, ...]) -> Plan:
        held, message = self._filling.write(key, value, tags=self._filling.tags + tags)
        self._forget(key, lambda: self._filling.put(key, held))
        if self._remote is None:
            return
        if (yield from self._filling.store(key, held, message)):
            self._forget(key, lambda: self._filling.put(key, held))

    def _tell(self, kind: str, name: str, forget: Callable[[], object]) -> Plan:
        forget()
        remote, space = self._remote, self._filling.space
        if remote is None or space is None:
            return
        yield from self._filling.open()
        slot = remote.invalidate(space, kind, name)
        answer = AWAY if slot is None else (yield slot)
        if remote.answer(space, answer) is None:
            self.statistics.unsent_invalidations += 1
            return
        # Who asked Redis before it was told may have kept the old value since.
        forget()

    def _explain(self, remote: RedisTier, key: str) -> Plan:
        space = self._filling.space
        assert space is not None
        is_open = yield from self._filling.open()
        found: dict[str, Any] = {
            "redis": "up" if is_open else "away",
            "hears_by": remote.hearing.by,
            "is_trusted": self._shelf.is_trusted,
            "owed_changes": len(remote.outbox),
            "generation": space.generation,
        }
        left: list[Any] = []
        for name in (space.value(key), space.lease(key)):
            slot = remote.ask(space, "PTTL", name) if is_open else None
            left.append(AWAY if slot is None else (yield slot))
        for name, answer in zip(("redis_dies_in_s", "lease_left_s"), left, strict=True):
            found[name] = answer / 1000 if isinstance(answer, int) and answer >= 0 else None
        return found

    def _waits(self) -> None:
        self.statistics.waits += 1


def _nothing() -> None: ...


def _check(**seconds: float | None) -> None:
    for name, value in seconds.items():
        if value is not None and not 0 <= value < float("inf"):
            raise BadArgument(f"{name} = {value} must be a number of seconds from 0, such as 30.")


def _check_choices(jitter: float, tier: str, loader_version: str, *, needs_memory: bool) -> None:
    if not 0 <= jitter < 1:
        raise BadArgument(f"jitter = {jitter} must be a share from 0 to below 1, such as 0.1.")
    if tier not in TIERS:
        raise BadArgument(f"tier = {tier!r} must be one of {', '.join(TIERS)}.")
    if tier == "redis" and needs_memory:
        raise BadArgument(f"tier = {tier!r} has no memory, which stale_s and errors_s need.")
    if not set(loader_version) <= _VERSION_SIGNS:
        raise BadArgument(
            f"loader_version = {loader_version!r} must be of letters, digits, dots and dashes, "
            "such as 2 or 2026-11."
        )


_VERSION_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
