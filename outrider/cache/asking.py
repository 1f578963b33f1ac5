"""Asking a bot to load ahead by itself, because its loader needs the bot's session.

A worker knows no bot's sockets: it is given an :data:`Ask`, and the bot answers with
:func:`serve`. What goes between them is whoever connects them's affair. Only names travel: what the
call's arguments are the bot reads where every process reads them, and the value it writes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from outrider.cache import ahead, loaders, warming
from outrider.clock import SYSTEM
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import redis

    from outrider.cache.patterns import NamespaceUse
    from outrider.clock import Clock

# The name under which bots serve it on their channel, to their supervisor only.
SERVED = "cache.load"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Which key to load, by which loader, and until when it matters (seconds since 1970)."""

    namespace: str
    key: str
    loader: str
    version: str = ""
    deadline_s: float
    even_if_fresh: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What came of it. ``nobody``: that bot can't be reached from here."""

    outcome: Literal["warmed", "fresh", "fenced", "late", "failed", "nobody"]
    load_s: float = 0.0
    error: str = ""


# (bot instance, request) pairs -> an answer each, in order. Raises nothing.
Ask = Callable[[Sequence[tuple[str, Request]]], list[Answer]]


def serve(
    client: redis.Redis,
    uses: Sequence[NamespaceUse],
    body: object,
    *,
    clock: Clock = SYSTEM,
) -> Answer:
    """Load what a request asks for by a registered loader of this process.

    Blocks: not to be called in an event loop. An asynchronous loader runs in the bot's own.

    Raises:
        BadArgument: it is no request, or no such loader is registered here.
    """
    try:
        request = msgspec.convert(body, Request)
    except msgspec.ValidationError as error:
        raise BadArgument(f"{SERVED} takes an outrider.cache.asking.Request: {error}.") from None
    if clock.now() >= request.deadline_s:
        return Answer("late")
    loader = loaders.registered(request.loader, request.namespace, version=request.version)
    loop = next((use.loop for use in uses if use.namespace == request.namespace), None)
    try:
        load_s = warming.load(
            client, loader, request.key,
            use=warming.recorded(client, request.namespace, request.key), clock=clock, loop=loop,
            even_if_fresh=request.even_if_fresh, timeout_s=request.deadline_s - clock.now(),
        )  # fmt: skip
    except ahead.Fenced:
        return Answer("fenced")
    except Exception as error:  # noqa: BLE001 - a loader is the user's code
        return Answer("failed", error=f"{type(error).__name__}: {error}"[:500])
    return Answer("fresh") if load_s is None else Answer("warmed", load_s)
