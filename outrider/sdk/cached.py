"""``@outrider.cached``: two tiers in front of a function, ``def`` and ``async def`` alike.

Nothing is imported, connected or started before the first call, so that decorating costs a bot's
start nothing. A hit is one look-up in a dictionary and one counter: see
:mod:`outrider.sdk.wrapper`, which makes the function, and :mod:`outrider.cache.front`, which keeps
the dictionary. What the decorator returns is a plain function (coroutine function) with the
methods of :class:`CachedFunction` (:class:`CachedCoroutine`) attached, because frameworks ask
``inspect.iscoroutinefunction`` of their handlers, which an object with ``__call__`` fails.
"""

from __future__ import annotations

import atexit
import inspect
import math
import os
import re
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar, cast, overload

from outrider import samples
from outrider.cache import loaders
from outrider.cache.calls import Call, Calls
from outrider.errors import BadArgument
from outrider.sdk import wrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from outrider.cache.calls import Template
    from outrider.cache.codec import Codec
    from outrider.cache.front import Front
    from outrider.cache.tiered import TieredCache
    from outrider.sdk.bot import Bot

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

CAPACITY = 10_000
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class CachedFunction(Protocol[P, R_co]):
    """What ``@outrider.cached`` makes of a ``def``. Every call may wait for Redis, for 40 ms."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached value, or load it. Do not change it: others are given the same."""
        ...

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., R_co]: ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the value of this call, here and in Redis."""
        ...

    def invalidate_tag(self, tag: str) -> None:
        """Forget all values of this function that bear a tag, here and elsewhere."""
        ...

    def invalidate_all(self) -> None:
        """Forget all values of this function, here and elsewhere."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Load anew whatever is cached. If that raises, the old value stays."""
        ...

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None:
        """Return what is cached, or None, without loading and without counting as a use."""
        ...

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Return why this call would be a hit or a miss: its key, where it is, until when."""
        ...

    def what_if(self, *factors: float) -> dict[float, float]:
        """Return the hit ratio of memory to expect with so many times the room; 2 by default."""
        ...

    def stats(self) -> dict[str, float]:
        """Return hits, misses, loads and the rest since this process started."""
        ...


class CachedCoroutine(Protocol[P, R_co]):
    """What ``@outrider.cached`` makes of an ``async def``; never blocks the event loop."""

    __name__: str
    __wrapped__: Callable[..., Any]

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached value, or load it. Do not change it: others are given the same."""
        ...

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, instance: object, owner: type
    ) -> Callable[..., Coroutine[Any, Any, R_co]]: ...

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the value of this call, here and in Redis."""
        ...

    async def invalidate_tag(self, tag: str) -> None:
        """Forget all values of this function that bear a tag, here and elsewhere."""
        ...

    async def invalidate_all(self) -> None:
        """Forget all values of this function, here and elsewhere."""
        ...

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Load anew whatever is cached. If that raises, the old value stays."""
        ...

    async def peek(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None:
        """Return what is cached, or None, without loading and without counting as a use."""
        ...

    async def explain(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Return why this call would be a hit or a miss: its key, where it is, until when."""
        ...

    def what_if(self, *factors: float) -> dict[float, float]:
        """Return the hit ratio of memory to expect with so many times the room; 2 by default."""
        ...

    def stats(self) -> dict[str, float]:
        """Return hits, misses, loads and the rest since this process started."""
        ...


class Decorator(Protocol):
    """What ``cached(...)`` returns."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine function is the narrower case
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CachedCoroutine[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...


def cached(
    *,
    ttl_s: float,
    stale_s: float = 0.0,
    key: Template | None = None,
    tags: Iterable[Template] | Callable[..., Iterable[str]] = (),
    namespace: str | None = None,
    loader_version: str | int = "",
    capacity: int = CAPACITY,
    **tiers: Any,
) -> Decorator:
    """Cache a function's results in this process and in Redis.

    ``OUTRIDER_REDIS_URL`` names the Redis; without it, and while it is away, memory serves alone.
    Concurrent calls with the same arguments load once. Exceptions are not cached.

    Args:
        ttl_s: seconds until a value is loaded anew. It may be served ten milliseconds longer.
        stale_s: seconds more for which the old value is served while a new one is loaded.
        key: what identifies a call, as ``"price:{symbol}"`` or ``"{user.id}"``, or a function of
            the arguments alone; all arguments by default, which must then be plain data.
        tags: by which values are invalidated together; templates like ``key``, or a function.
        namespace: the cache's name in Redis and in metrics; ``module.function`` by default. Bots
            that cache the same thing under the same namespace share its values.
        loader_version: change it when the function's values mean something else, and the old ones
            are no longer read.
        capacity: how many values this process keeps in memory.
        tiers: further arguments of :class:`outrider.cache.tiered.TieredCache`, such as ``tier``.

    Raises:
        BadArgument: a value is out of range, a template names what is no parameter, or the
            namespace belongs to another function.
    """
    if callable(ttl_s):
        raise BadArgument(
            "@outrider.cached needs a time to live; write @outrider.cached(ttl_s=60)."
        )
    if not 0 < ttl_s < float("inf"):
        raise BadArgument(f"ttl_s = {ttl_s} must be a number of seconds above 0, such as 60.")
    if not 0 <= stale_s < float("inf"):
        raise BadArgument(f"stale_s = {stale_s} must be a number of seconds, such as 300, or 0.")
    if capacity < 1:
        raise BadArgument(f"capacity = {capacity} must be at least 1, such as {CAPACITY}.")

    def decorate(function: Callable[..., Any]) -> Any:
        cache = _Cached(
            function,
            Calls(function, key=key, tags=tags),
            namespace=namespace,
            version=str(loader_version),
            options={
                "ttl_s": ttl_s,
                "stale_s": stale_s,
                "loader_version": str(loader_version),
                "capacity": capacity,
                **tiers,
            },
        )
        attach = _attach_async if inspect.iscoroutinefunction(function) else _attach
        return loaders.note_cached(cache.namespace, attach(function, cache))

    return cast("Decorator", decorate)


def _attach(function: Callable[..., Any], cache: _Cached) -> Any:
    def miss(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        one = cache.calls.bound(args, kwargs)
        value = cache.tiers().load(one, lambda: function(*args, **kwargs))
        cache.show(one)
        return value

    def refresh(*args: Any, **kwargs: Any) -> Any:
        one = cache.calls.of(args, kwargs)
        return cache.tiers().refresh(one, lambda: function(*one.args, **one.kwargs))

    def invalidate(*args: Any, **kwargs: Any) -> None:
        cache.tiers().invalidate(cache.calls.of(args, kwargs).key)

    def invalidate_tag(tag: str) -> None:
        cache.tiers().invalidate_tag(tag)

    def invalidate_all() -> None:
        cache.tiers().invalidate_namespace()

    def peek(*args: Any, **kwargs: Any) -> Any:
        return cache.tiers().get(cache.calls.of(args, kwargs).key)

    def explain(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return cache.explain(cache.calls.of(args, kwargs))

    call = wrapper.wrap(function, cache.table, miss)
    return _with(
        call,
        cache,
        refresh=refresh,
        invalidate=invalidate,
        invalidate_tag=invalidate_tag,
        invalidate_all=invalidate_all,
        peek=peek,
        explain=explain,
    )


def _attach_async(function: Callable[..., Any], cache: _Cached) -> Any:
    async def miss(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        one = cache.calls.bound(args, kwargs)
        value = await cache.tiers().load_async(one, lambda: function(*args, **kwargs))
        cache.show(one)
        return value

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        one = cache.calls.of(args, kwargs)
        return await cache.tiers().refresh_async(one, _loading(function, one))

    async def invalidate(*args: Any, **kwargs: Any) -> None:
        await cache.tiers().invalidate_async(cache.calls.of(args, kwargs).key)

    async def invalidate_tag(tag: str) -> None:
        await cache.tiers().invalidate_tag_async(tag)

    async def invalidate_all() -> None:
        await cache.tiers().invalidate_namespace_async()

    async def peek(*args: Any, **kwargs: Any) -> Any:
        return await cache.tiers().get_async(cache.calls.of(args, kwargs).key)

    async def explain(*args: Any, **kwargs: Any) -> Any:
        return await cache.tiers().apart(cache.explain, cache.calls.of(args, kwargs))

    call = wrapper.wrap(function, cache.table, miss)
    return _with(
        call,
        cache,
        refresh=refresh,
        invalidate=invalidate,
        invalidate_tag=invalidate_tag,
        invalidate_all=invalidate_all,
        peek=peek,
        explain=explain,
    )


def _loading(function: Callable[..., Any], one: Call) -> Callable[[], Coroutine[Any, Any, Any]]:
    return lambda: function(*one.args, **one.kwargs)


def _with(call: Any, cache: _Cached, **methods: Callable[..., Any]) -> Any:
    for name, method in methods.items():
        setattr(call, name, method)
    call.stats = cache.stats
    call.what_if = cache.what_if
    return call


class _Cached:
    """The cache behind one function: built at its first call, and again in a forked child."""

    def __init__(
        self,
        function: Callable[..., Any],
        calls: Calls,
        *,
        namespace: str | None,
        version: str,
        options: dict[str, Any],
    ) -> None:
        module = loaders.module_of(function)
        self.namespace = namespace or f"{module}.{function.__qualname__}"
        if not _NAMESPACE.fullmatch(self.namespace):
            raise BadArgument(
                f"namespace = {self.namespace!r} must be letters, digits, dots and dashes; give "
                'a function inside a function a name of its own: namespace="profiles".'
            )
        self.calls = calls
        self.table: dict[Any, Any] = {}  # read by the wrapper, for as long as that lives
        self._function = function
        self._version = version
        self._options = options
        self._tiers: TieredCache | None = None
        self._front: Front | None = None
        self._made_codec: Codec | None = None
        self._lock = threading.Lock()
        self._reports_to: Bot | None = None
        self._foreseen: dict[str, float] = {}
        self._foreseen_until_s = 0.0
        # Held here, so that it is registered as long as the function lives.
        self.loader = loaders.Loader(
            f"{module}:{function.__qualname__}",
            function,
            self.namespace,
            options["ttl_s"],
            self._codec,
            version=version,
            stale_s=options["stale_s"],
            negative_s=options.get("negative_s"),
        )
        loaders.register(self.loader)
        _ALL.add(self)

    def tiers(self) -> TieredCache:
        """Return the cache, built when it is first asked for, and reported to the bot if any."""
        if self._reports_to is None:
            self._report()
        return self._tiers or self._build()

    def show(self, one: Call) -> None:
        """Let the wrapper serve a call's value by itself, if its arguments allow it."""
        values = (*one.args, *one.kwargs.values()) if one.kwargs else one.args
        kind = wrapper.kind(values)
        if kind is not None and self._tiers is not None and self._front is not None:
            self._tiers.show(one, self._front, name=wrapper.name(values), kind=kind)

    def stats(self) -> dict[str, float]:
        """Return the statistics of this process."""
        tiers = self._tiers or self._build()
        self.count()
        return tiers.statistics.as_dict() | {
            "entries": len(tiers),
            "evicted": tiers.memory.evicted,
            "away": float(tiers.is_away),
        }

    def count(self) -> None:
        """Bring the statistics up to now."""
        if self._front is not None:
            self._front.count()

    def what_if(self, *factors: float) -> dict[float, float]:
        """Return the hit ratio of memory with so many times the room."""
        memory = (self._tiers or self._build()).memory
        return {factor: memory.hit_ratio_at(factor) for factor in factors or (2.0,)}

    def explain(self, one: Call) -> dict[str, Any]:
        """Return what is known of a call."""
        tiers = self.tiers()
        memory = tiers.memory.explain(one.key)
        told = {"namespace": self.namespace, "key": one.key, "tags": list(one.tags)}
        return told | {"repeatable": one.replayable} | memory | tiers.explain(one.key)

    def forget_after_fork(self) -> None:
        """Begin anew in a child. The bot is the same object there, and keeps its source."""
        self.table.clear()
        self._tiers = self._front = None
        self._lock = threading.Lock()

    def _report(self) -> None:
        from outrider.sdk import bot

        current = bot.current()  # it may be made after the first call
        if current is None:
            return
        with self._lock:
            if self._reports_to is None:
                self._reports_to = current
                current.add_source(self._gauges)
                _serve_loads_ahead(current)

    def _gauges(self) -> dict[str, float]:
        numbers = self.stats()
        # More digits are noise, and noise is what storing a series costs.
        numbers["load_seconds"] = round(numbers.pop("load_s"), 6)
        numbers["hit_ratio"] = round(numbers["hit_ratio"], 4)
        numbers |= self._what_if_now_and_then()
        return {
            f"cache.{self.namespace}.{name if name in _GAUGES else samples.total(name)}": value
            for name, value in numbers.items()
        }

    def _what_if_now_and_then(self) -> dict[str, float]:
        if time.monotonic() >= self._foreseen_until_s:
            self._foreseen_until_s = time.monotonic() + _WHAT_IF_EVERY_S
            self._foreseen = {
                _WHAT_IF[factor]: round(ratio, 3)
                for factor, ratio in self.what_if(*_WHAT_IF).items()
                if not math.isnan(ratio)  # before the first use
            }
        return self._foreseen

    def _codec(self) -> Codec:
        if self._made_codec is None:
            from outrider.cache.codec import Codec

            self._made_codec = Codec.of(self._function, loader_version=self._version)
        return self._made_codec

    def _build(self) -> TieredCache:
        from outrider.cache.front import Front
        from outrider.cache.tiered import TieredCache

        with self._lock:
            if self._tiers is None:
                url = os.environ.get("OUTRIDER_REDIS_URL")
                tiers = TieredCache(
                    self.namespace,
                    codec=self._codec(),
                    **self._options,
                    **(self._connected(url) if url else {}),
                )
                self._front = Front(tiers.memory, self.table, tiers.served)
                # After the recorder's, so called before it: it then writes what we count.
                atexit.unregister(_count_all)
                atexit.register(_count_all)
                self._tiers = tiers
            return self._tiers

    def _connected(self, url: str) -> dict[str, Any]:
        from outrider.cache import shared

        process = shared.of(url)
        return {
            "remote": process.tier,
            "threads": process.threads,
            "use": process.recorder.namespace(
                self.namespace,
                loader=self.loader.name,
                ttl_s=self._options["ttl_s"],
                version=self._version,
            ),
        }


def _serve_loads_ahead(bot: Bot) -> None:
    """Let workers ask this bot, through its supervisor, to load by itself."""
    url = os.environ.get("OUTRIDER_REDIS_URL")
    if not url or not os.environ.get("OUTRIDER_CHANNEL"):
        return
    import msgspec

    from outrider.cache import asking, shared
    from outrider.channel.envelopes import SUPERVISOR

    def load(body: Any, _sender: str) -> Any:
        return msgspec.to_builtins(shared.of(url).recorder.load_ahead(body))

    bot.channel.serve(asking.SERVED, load, only=SUPERVISOR)


# What goes up and down; the rest of the statistics only grows.
_WHAT_IF_EVERY_S = 30.0  # it reads every entry
_WHAT_IF = {0.5: "halved_hit_ratio", 2.0: "doubled_hit_ratio"}
_GAUGES = frozenset({"hit_ratio", "entries", "away", *_WHAT_IF.values()})
_ALL: weakref.WeakSet[_Cached] = weakref.WeakSet()


def _count_all() -> None:
    for cache in list(_ALL):
        cache.count()


def _in_child() -> None:
    import sys

    for cache in list(_ALL):
        cache.forget_after_fork()
    if (shared := sys.modules.get("outrider.cache.shared")) is not None:
        shared.forget_after_fork()


os.register_at_fork(after_in_child=_in_child)
