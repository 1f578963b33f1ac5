"""Which functions may be run again elsewhere: those that @outrider.cached registered, no others.

A usage record in Redis names its loader. Redis is not trusted with the choice of code: a worker
imports only the modules that its own settings name, and calls only what registered itself there
under that very name and namespace.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.errors import BadArgument

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from outrider.cache.codec import Codec


@dataclass(frozen=True, eq=False)
class Loader:
    """A function as it was before it was cached, and how its values are kept."""

    name: str
    function: Callable[..., Any]
    namespace: str
    ttl_s: float
    codec: Callable[[], Codec]
    version: str = ""
    stale_s: float = 0.0
    negative_s: float | None = None  # for None; as for any value when not given

    def lives(self, value: Any) -> tuple[float, float]:
        """Return for how many seconds a value is fresh, and for how many it is kept."""
        if value is None and self.negative_s is not None:
            return self.negative_s, self.negative_s
        return self.ttl_s, self.ttl_s + self.stale_s

    def load(
        self,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Load a value, and wait for it.

        An asynchronous function runs in ``loop``, which another thread runs, or, without one that
        runs, in an event loop of its own; after ``timeout_s`` it is cancelled with TimeoutError.
        """
        import asyncio
        import inspect

        if not inspect.iscoroutinefunction(self.function):
            return self.function(*args, **kwargs)
        loading = asyncio.wait_for(self.function(*args, **kwargs), timeout_s)
        if loop is None or not loop.is_running():
            return asyncio.run(loading)
        return asyncio.run_coroutine_threadsafe(loading, loop).result()


# Weak: a function that was defined again, or went with its scope, leaves its namespace free.
_BY_NAMESPACE: weakref.WeakValueDictionary[str, Loader] = weakref.WeakValueDictionary()


def module_of(function: Callable[..., Any]) -> str:
    """Return the name under which a function's module can be imported.

    The module that was started says ``__main__`` of itself; its own name is in its spec, or, when
    it was started as a file, is the file's.
    """
    if function.__module__ != "__main__":
        return function.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return Path(getattr(main, "__file__", None) or "__main__").stem


def register(loader: Loader) -> None:
    """Make a loader known in this process, for as long as it lives.

    Raises:
        BadArgument: its namespace belongs to another function; their keys would mix.
    """
    known = _BY_NAMESPACE.get(loader.namespace)
    if known is not None and known.name != loader.name:
        raise BadArgument(
            f"namespace {loader.namespace!r} of {loader.name} is taken by {known.name}; "
            "give each cached function a namespace of its own."
        )
    _BY_NAMESPACE[loader.namespace] = loader


# What calls go through: the decorated functions themselves.
_CACHED: weakref.WeakValueDictionary[str, Callable[..., Any]] = weakref.WeakValueDictionary()


def note_cached(namespace: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember the cached form of a namespace's function, for as long as it lives. Return it."""
    _CACHED[namespace] = function
    return function


def cached() -> dict[str, Callable[..., Any]]:
    """Return the cached functions of this process, by namespace."""
    return dict(_CACHED)


def find(
    name: str, namespace: str, *, allowed: Collection[str], version: str | None = None
) -> Loader:
    """Return the loader ``module:function``, importing its module if that is allowed.

    Raises:
        BadArgument: the module is not allowed, can't be imported, or registers no such loader.
    """
    module = name.partition(":")[0]
    if module not in allowed:
        raise BadArgument(
            f"{name!r} may not be loaded here; add {module!r} to loaders under [warm] in "
            "outrider.toml if it should be."
        )
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise BadArgument(
            f"{module!r} can't be imported to warm {namespace!r} ({error}); run the worker where "
            "the bot's modules are installed, or take it out of loaders under [warm]."
        ) from None
    return registered(name, namespace, version=version)


def registered(name: str, namespace: str, *, version: str | None = None) -> Loader:
    """Return the loader ``module:function`` that is known in this process.

    Raises:
        BadArgument: there is none of that name, namespace and version.
    """
    loader = _BY_NAMESPACE.get(namespace)
    if loader is None or loader.name != name:
        raise BadArgument(
            f"{name!r} is no loader of namespace {namespace!r}; decorate it with "
            "@outrider.cached at the top level of its module."
        )
    if version is not None and loader.version != version:
        raise BadArgument(
            f"{name!r} is of version {loader.version!r} here, and {version!r} was asked for; "
            "restart what runs the older code."
        )
    return loader
