"""Asking a bot to run a loader of its own, because it needs the bot's session.

A worker knows no bot's sockets: it is given an :data:`Ask`, and the bot answers with
:func:`serve`. What goes between them is whoever connects them's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from outrider.cache import loaders
from outrider.clock import SYSTEM
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import asyncio

    from outrider.clock import Clock

# (bot instance, loader "namespace=module:qualname@version", msgpack of [args, kwargs], deadline
# in seconds since 1970) -> the value as the cache keeps it. Raises what the loader raises, and
# TimeoutError when the deadline has passed.
Ask = Callable[[str, str, bytes, float], bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """What a bot is asked: the loader's full name, its arguments, and until when it matters."""

    loader: str
    arguments: bytes
    deadline_s: float


def name(namespace: str, loader: str, version: str) -> str:
    """Return a loader's full name.

    >>> name("prices", "bots.market:price", "2")
    'prices=bots.market:price@2'
    """
    return f"{namespace}={loader}@{version}"


def arguments(args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """Return a call's arguments as they travel."""
    return msgspec.msgpack.encode([args, kwargs])


def serve(
    request: Request, *, loop: asyncio.AbstractEventLoop | None = None, clock: Clock = SYSTEM
) -> bytes:
    """Run a registered loader of this process and return its value as the cache keeps it.

    Blocks: not to be called in an event loop. An asynchronous loader runs in ``loop``, the bot's.

    Raises:
        BadArgument: no such loader is registered here, or the arguments can't be read.
        TimeoutError: the deadline has passed.
        Exception: whatever the loader raises.
    """
    namespace, _, rest = request.loader.partition("=")
    loader_name, _, version = rest.rpartition("@")
    if clock.now() >= request.deadline_s:
        raise TimeoutError(f"{request.loader!r} was asked for too late to matter.")
    loader = loaders.registered(loader_name, namespace, version=version)
    try:
        args, kwargs = msgspec.msgpack.decode(
            request.arguments, type=tuple[list[Any], dict[str, Any]]
        )
    except msgspec.MsgspecError as error:
        raise BadArgument(
            f"the arguments of {request.loader!r} can't be read ({error}); ask with "
            "outrider.cache.asking.arguments(args, kwargs)."
        ) from None
    value = loader.load(args, kwargs, loop=loop, timeout_s=request.deadline_s - clock.now())
    now_s = clock.now()
    return loader.codec().encode(value, expires_s=now_s + loader.ttl_s, warmed_from_s=now_s)
