"""``@outrider.cached``: two tiers in front of a function, ``def`` and ``async def`` alike.

Nothing is imported, connected or started before the first call, so that decorating costs a bot's
start nothing. What the decorator returns is a plain function (coroutine function) with the
methods of :class:`CachedFunction` (:class:`CachedCoroutine`) attached, because frameworks ask
``inspect.iscoroutinefunction`` of their handlers, which an object with ``__call__`` fails.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import threading
import weakref
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from outrider import samples
from outrider.cache import loaders
from outrider.cache.calls import Call, Calls
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from outrider.cache.codec import Codec
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

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the value of this call, here and in Redis."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Load anew whatever is cached. If that raises, the old value stays."""
        ...

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None:
        """Return what is cached, or None, without loading and without counting as a use."""
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

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the value of this call, here and in Redis."""
        ...

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Load anew whatever is cached. If that raises, the old value stays."""
        ...

    async def peek(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None:
        """Return what is cached, or None, without loading and without counting as a use."""
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


def cached(*, ttl_s: float, namespace: str | None = None, capacity: int = CAPACITY) -> Decorator:
    """Cache a function's results in this process and in Redis.

    ``OUTRIDER_REDIS_URL`` names the Redis; without it, and while it is away, memory serves alone.
    Concurrent calls with the same arguments load once. Exceptions are not cached.

    Args:
        ttl_s: seconds until a value is loaded anew.
        namespace: the cache's name in Redis and in metrics; ``module.function`` by default. Bots
            that cache the same thing under the same namespace share its values.
        capacity: how many values this process keeps in memory.

    Raises:
        BadArgument: a value is out of range, or the namespace belongs to another function.
    """
    if callable(ttl_s):
        raise BadArgument(
            "@outrider.cached needs a time to live; write @outrider.cached(ttl_s=60)."
        )
    if not 0 < ttl_s < float("inf"):
        raise BadArgument(f"ttl_s = {ttl_s} must be a number of seconds above 0, such as 60.")
    if capacity < 1:
        raise BadArgument(f"capacity = {capacity} must be at least 1, such as {CAPACITY}.")

    def decorate(function: Callable[..., Any]) -> Any:
        cache = _Cached(function, ttl_s, namespace, capacity)
        wrap = _wrap_async if inspect.iscoroutinefunction(function) else _wrap
        return loaders.note_cached(cache.namespace, wrap(function, cache))

    return cast("Decorator", decorate)


def _wrap(function: Callable[..., Any], cache: _Cached) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        one = cache.calls.of(args, kwargs)
        return cache.tiers().load(one, lambda: function(*one.args, **one.kwargs))

    def refresh(*args: Any, **kwargs: Any) -> Any:
        one = cache.calls.of(args, kwargs)
        return cache.tiers().refresh(one, lambda: function(*one.args, **one.kwargs))

    def invalidate(*args: Any, **kwargs: Any) -> None:
        cache.tiers().invalidate(cache.calls.of(args, kwargs).key)

    def peek(*args: Any, **kwargs: Any) -> Any:
        return cache.tiers().get(cache.calls.of(args, kwargs).key)

    return _attach(call, refresh=refresh, invalidate=invalidate, peek=peek, stats=cache.stats)


def _wrap_async(function: Callable[..., Any], cache: _Cached) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        one = cache.calls.of(args, kwargs)
        return await cache.tiers().load_async(one, _loading(function, one))

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        one = cache.calls.of(args, kwargs)
        return await cache.tiers().refresh_async(one, _loading(function, one))

    async def invalidate(*args: Any, **kwargs: Any) -> None:
        tiers = cache.tiers()
        await tiers.apart(tiers.invalidate, cache.calls.of(args, kwargs).key)

    async def peek(*args: Any, **kwargs: Any) -> Any:
        tiers = cache.tiers()
        return await tiers.apart(tiers.get, cache.calls.of(args, kwargs).key)

    return _attach(call, refresh=refresh, invalidate=invalidate, peek=peek, stats=cache.stats)


def _loading(function: Callable[..., Any], one: Call) -> Callable[[], Coroutine[Any, Any, Any]]:
    return lambda: function(*one.args, **one.kwargs)


def _attach(wrapper: Any, **methods: Callable[..., Any]) -> Any:
    for name, method in methods.items():
        setattr(wrapper, name, method)
    return wrapper


class _Cached:
    """The cache behind one function: built at its first call, and again in a forked child."""

    def __init__(
        self, function: Callable[..., Any], ttl_s: float, namespace: str | None, capacity: int
    ) -> None:
        module = loaders.module_of(function)
        self.namespace = namespace or f"{module}.{function.__qualname__}"
        if not _NAMESPACE.fullmatch(self.namespace):
            raise BadArgument(
                f"namespace = {self.namespace!r} must be letters, digits, dots and dashes; give "
                'a function inside a function a name of its own: namespace="profiles".'
            )
        self.calls = Calls(function)
        self._function = function
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._tiers: TieredCache | None = None
        self._made_codec: Codec | None = None
        self._lock = threading.Lock()
        self._reports_to: Bot | None = None
        # Held here, so that it is registered as long as the function lives.
        self.loader = loaders.Loader(
            f"{module}:{function.__qualname__}", function, self.namespace, ttl_s, self._codec
        )
        loaders.register(self.loader)
        _ALL.add(self)

    def tiers(self) -> TieredCache:
        """Return the cache, built when it is first asked for, and reported to the bot if any."""
        if self._reports_to is None:
            self._report()
        return self._tiers or self._build()

    def stats(self) -> dict[str, float]:
        """Return the statistics of this process."""
        tiers = self._tiers or self._build()
        return tiers.statistics.as_dict() | {"entries": len(tiers), "away": float(tiers.is_away)}

    def forget_after_fork(self) -> None:
        """Begin anew in a child. The bot is the same object there, and keeps its source."""
        self._tiers = None
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

    def _gauges(self) -> dict[str, float]:
        numbers = self.stats()
        # More digits are noise, and noise is what storing a series costs.
        numbers["load_seconds"] = round(numbers.pop("load_s"), 6)
        numbers["hit_ratio"] = round(numbers["hit_ratio"], 4)
        return {
            f"cache.{self.namespace}.{name if name in _GAUGES else samples.total(name)}": value
            for name, value in numbers.items()
        }

    def _codec(self) -> Codec:
        if self._made_codec is None:
            from outrider.cache.codec import Codec

            self._made_codec = Codec.of(self._function)
        return self._made_codec

    def _build(self) -> TieredCache:
        from outrider.cache.tiered import TieredCache

        with self._lock:
            if self._tiers is None:
                url = os.environ.get("OUTRIDER_REDIS_URL")
                self._tiers = TieredCache(
                    self.namespace,
                    ttl_s=self._ttl_s,
                    codec=self._codec(),
                    capacity=self._capacity,
                    **(self._connected(url) if url else {}),
                )
            return self._tiers

    def _connected(self, url: str) -> dict[str, Any]:
        from outrider.cache import shared

        process = shared.of(url)
        return {
            "remote": process.tier,
            "threads": process.threads,
            "use": process.recorder.namespace(
                self.namespace, loader=self.loader.name, ttl_s=self._ttl_s
            ),
        }


# What goes up and down; the rest of the statistics only grows.
_GAUGES = frozenset({"hit_ratio", "entries", "away"})
_ALL: weakref.WeakSet[_Cached] = weakref.WeakSet()


def _in_child() -> None:
    import sys

    for cache in list(_ALL):
        cache.forget_after_fork()
    if (shared := sys.modules.get("outrider.cache.shared")) is not None:
        shared.forget_after_fork()


os.register_at_fork(after_in_child=_in_child)
