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

    def __call__(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Load a value. An asynchronous function gets an event loop of its own for the call."""
        import asyncio
        import inspect

        if inspect.iscoroutinefunction(self.function):
            return asyncio.run(self.function(*args, **kwargs))
        return self.function(*args, **kwargs)


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


def find(name: str, namespace: str, *, allowed: Collection[str]) -> Loader:
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
    loader = _BY_NAMESPACE.get(namespace)
    if loader is None or loader.name != name:
        raise BadArgument(
            f"{name!r} is no loader of namespace {namespace!r}; decorate it with "
            "@outrider.cached at the top level of its module."
        )
    return loader
