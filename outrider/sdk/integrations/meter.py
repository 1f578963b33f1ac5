"""What all integrations share: bounded names, and measuring that can never break a bot.

An integration only looks: whatever goes wrong in it is caught here, counted as
``instrument.errors`` and logged once a place, and the bot's own call goes on as if nobody looked.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.sdk.bot import Bot

# A frame keeps 64 letters of a name; the longest thing that is put behind one of ours is this.
LONGEST = 64
LONGEST_ENDING = len(".cancelled")
OTHER = "other"
_STRANGE = re.compile(r"[^A-Za-z0-9_.-]+")
_T = TypeVar("_T")
_LOG = logging.getLogger("outrider.instrument")
now = time.perf_counter


class Names:
    """Names below one prefix, at most ``most`` of them; all further ones share ``PREFIX.other``.

    >>> kinds = Names("updates", most=2)
    >>> kinds("message"), kinds("poll"), kinds("pre_checkout"), kinds("message")
    ('updates.message', 'updates.poll', 'updates.other', 'updates.message')
    """

    __slots__ = ("_kept", "_most", "_prefix", "_room")

    def __init__(self, prefix: str, *, most: int, ending: int = LONGEST_ENDING) -> None:
        self._prefix = prefix
        self._most = most
        self._room = LONGEST - len(prefix) - 1 - ending
        self._kept: dict[str, str] = {}

    def __call__(self, raw: str) -> str:
        """Return the series name for ``raw``, which may be anything."""
        name = self._kept.get(raw)
        return name if name is not None else self._new(raw)

    def _new(self, raw: str) -> str:
        if len(self._kept) >= self._most:
            return f"{self._prefix}.{OTHER}"
        name = self._kept[raw] = f"{self._prefix}.{tidy(raw, self._room)}"
        return name


def tidy(raw: str, longest: int) -> str:
    """Return ``raw`` as a part of a series name: letters, digits, ``_``, ``.``; its end if long.

    >>> tidy("main.<locals>.too_late", 40), tidy("POST /a b", 40), tidy("far.too.long", 8)
    ('too_late', 'POST_a_b', 'too.long')
    """
    inner = raw.rpartition("<locals>.")[2]
    return _STRANGE.sub("_", inner)[-longest:].strip("._-") or "unnamed"


def name_of(callback: Any) -> str:
    """Return what a handler is called: its qualified name, seen through partials.

    A lambda is told from others by its line; a callable object goes by its class.

    >>> name_of(functools.partial(name_of)), name_of(Names("a", most=1))
    ('name_of', 'Names')
    """
    while isinstance(callback, functools.partial):
        callback = callback.func
    name = getattr(callback, "__qualname__", None) or type(callback).__qualname__
    if name.endswith("<lambda>") and hasattr(callback, "__code__"):
        return f"{name}_{callback.__code__.co_firstlineno}"
    return str(name)


def was_cancelled(error: BaseException) -> bool:
    """Tell whether somebody ended the work on purpose; that is no error of it."""
    return type(error).__name__ in {"CancelledError", "GeneratorExit"}


class Meter:
    """Records for one bot. Its methods take what integrations see, and never raise."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self.count = bot.count
        self.observe = bot.observe
        self._parts: dict[type[Any], Any] = {}
        self._told: set[str] = set()

    def part(self, kind: Callable[[Meter], _T]) -> _T:
        """Return this bot's one ``kind``, made when first asked for: two dispatchers add up."""
        key: Any = kind
        if key not in self._parts:
            self._parts[key] = kind(self)
        made: _T = self._parts[key]
        return made

    def ended(self, name: str, start: float, error: BaseException | None, types: Names) -> None:
        """Record a call: its time, and in ``NAME.errors`` and by type when it failed."""
        self.observe(name, now() - start)
        if error is None:
            return
        if was_cancelled(error):
            self.count(f"{name}.cancelled")
        else:
            self.count(f"{name}.errors")
            self.count(types(type(error).__name__))

    def guard(self, look: Callable[..., None]) -> Callable[..., None]:
        """Return ``look`` so that nothing it raises gets out."""

        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                look(*args, **kwargs)
            except Exception as fault:  # noqa: BLE001 - ours, whatever it is, must not be the bot's
                self.fault(look, fault)

        return guarded

    def fault(self, place: Any, error: Exception) -> None:
        """Count a fault of our own; the first of a place is logged."""
        self.count("instrument.errors")
        where = name_of(place)
        if where not in self._told:
            self._told.add(where)
            _LOG.error("%s failed and was left out; the bot goes on", where, exc_info=error)


class Look(Protocol):
    """Takes a call that ended: its arguments, when it began, how it ended. Must not raise."""

    def __call__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        start: float,
        error: BaseException | None,
        result: Any,
        /,
    ) -> None:
        """Record it."""
        ...


def given(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    """Return an argument of a call, whichever way it was given.

    >>> given(("GET",), {}, 0, "method"), given((), {"method": "GET"}, 0, "method")
    ('GET', 'GET')
    """
    return args[position] if len(args) > position else kwargs[name]


def watched(function: Callable[..., Any], look: Look) -> Any:
    """Return ``function``, looked at. What it returns and raises is what it returned and raised."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = now()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            look(args, kwargs, start, error, None)
            raise
        look(args, kwargs, start, None, result)
        return result

    measured.outrider = True  # type: ignore[attr-defined]
    return measured


def watched_async(function: Callable[..., Any], look: Look) -> Any:
    """Return the coroutine function ``function``, looked at from its first step to its end."""

    async def measured(*args: Any, **kwargs: Any) -> Any:
        start = now()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            look(args, kwargs, start, error, None)
            raise
        look(args, kwargs, start, None, result)
        return result

    measured.outrider = True  # type: ignore[attr-defined]
    return measured


def is_watched(function: Any) -> bool:
    """Tell whether a function is one of ours already."""
    return getattr(function, "outrider", False) is True


_METERS: dict[int, Meter] = {}


def of(bot: Bot) -> Meter:
    """Return the meter of a bot, the same one every time."""
    kept = _METERS.get(id(bot))
    if kept is None or kept.bot is not bot:
        kept = _METERS[id(bot)] = Meter(bot)
    return kept


def subclass(thing: Any, **methods: Any) -> None:
    """Override methods of one object, also where ``__slots__`` leave no room for attributes.

    The object gets a class of its own that is called as its old one was, so that ``isinstance``,
    ``super()`` and ``repr`` go on as before.
    """
    object.__setattr__(thing, "__class__", derived(type(thing), **methods))


def derived(base: type[Any], **methods: Any) -> type[Any]:
    """Return a class like ``base`` with methods overridden; its instances can change to it."""
    named = {"__slots__": (), "__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (base,), named | methods)
