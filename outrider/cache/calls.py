"""What identifies a call: the same arguments give the same key in every process, forever.

The key is a canonical text of the arguments, as JSON where JSON can say it: readable in
``redis-cli``, and blind to whether an argument came by position, by name or by default. Python's
own ``hash`` differs between processes, and ``repr`` of an object holds its address.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import hashlib
import inspect
import uuid
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, NamedTuple

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Longer texts become a digest; a key of user input must not fill the server's memory.
LONGEST_KEY = 120
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**64 - 1  # what msgpack holds
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Call(NamedTuple):
    """One call in canonical form. ``replayable``: its arguments survive JSON unchanged."""

    key: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    replayable: bool


class Calls:
    """Names the calls of one function.

    >>> def profile(user_id, lang="en"): ...
    >>> calls = Calls(profile)
    >>> calls.of((42,), {}).key, calls.of((), {"lang": "en", "user_id": 42}).key
    ('[42,"en"]', '[42,"en"]')
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        plain = all(parameter.kind in _POSITIONAL for parameter in parameters)
        # A call with exactly so many positional arguments needs no binding (2 us saved).
        self._complete = len(parameters) if plain else -1

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Return a call's canonical form.

        Raises:
            TypeError: the function does not take these arguments.
            BadArgument: an argument is of a type that names no key.
        """
        if kwargs or len(args) != self._complete:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        try:
            return canonical(args, kwargs)
        except _NoKeyError as error:
            raise BadArgument(
                f"{self._name} was called with a {error.args[0]}, which names no cache key; pass "
                "numbers, text, bytes, dates, enums, UUIDs, lists or dicts with text keys"
                " (cache a function rather than a method), or leave @outrider.cached off."
            ) from None


class _NoKeyError(Exception):
    """Carries the name of the type that can't be part of a key."""


def canonical(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    """Return the canonical form of arguments that are bound already."""
    parts: list[str] = []
    replayable = _write_all(args, parts)
    text = f"[{','.join(parts)}]"
    if kwargs:
        named: list[str] = []
        replayable &= _write(dict(kwargs), named)
        text += named[0]
    if len(text) > LONGEST_KEY:
        text = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return Call(text, args, kwargs, replayable)


def _write(value: Any, parts: list[str]) -> bool:
    """Append the text of a value. Return whether it survives JSON unchanged."""
    kind = type(value)
    if kind is str:
        parts.append(encode_basestring_ascii(value))
        return value.isascii() or _is_unicode(value)
    if kind is int:
        parts.append(str(value))
        return bool(_SMALLEST_INT <= value <= _LARGEST_INT)
    if kind is bool or value is None:
        parts.append({True: "true", False: "false", None: "null"}[value])
    elif kind is float:
        parts.append(repr(value))
    elif kind is list or kind is tuple:
        inner: list[str] = []
        replayable = _write_all(value, inner)
        text = ",".join(inner)
        parts.append(f"[{text}]" if kind is list else f"({text})")
        return replayable and kind is list
    elif kind is dict:
        return _write_dict(value, parts)
    else:
        parts.append(_tagged(value))
        return False
    return True


def _write_all(values: Iterable[Any], parts: list[str]) -> bool:
    replayable = True
    for value in values:
        replayable &= _write(value, parts)
    return replayable


def _write_dict(value: dict[Any, Any], parts: list[str]) -> bool:
    inner: list[str] = []
    replayable = True
    for key in value:
        if type(key) is not str:
            raise _NoKeyError(f"dict with a key of type {type(key).__name__}")
    for key in sorted(value):
        one: list[str] = []
        replayable &= _write(value[key], one) and _is_unicode(key)
        inner.append(f"{encode_basestring_ascii(key)}:{one[0]}")
    parts.append(f"{{{','.join(inner)}}}")
    return replayable


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; a lone surrogate can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tagged(value: Any) -> str:
    """Return the text of a value that JSON lacks, its type before it."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, bytes):
        return f"bytes:{value.hex()}"
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return f"{type(value).__name__}:{value.isoformat()}"
    if isinstance(value, uuid.UUID | decimal.Decimal):
        return f"{type(value).__name__}:{value}"
    if isinstance(value, dt.timedelta):
        return f"timedelta:{value.total_seconds()!r}"
    raise _NoKeyError(type(value).__qualname__)
