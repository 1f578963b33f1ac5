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
import re
import uuid
from json.encoder import encode_basestring_ascii
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Template = str | Callable[..., Any]

# Longer texts become a digest; a key of user input must not fill the server's memory.
LONGEST_KEY = 120
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**64 - 1  # what msgpack holds
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Call(NamedTuple):
    """One call in canonical form.

    ``key`` names its value; ``text`` is the canonical text of its arguments, the same unless a
    ``key=`` was given. ``replayable``: the arguments survive JSON unchanged.
    """

    key: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    replayable: bool
    text: str = ""
    tags: tuple[str, ...] = ()


class Calls:
    """Names the calls of one function.

    ``key`` and each of ``tags`` are templates of the arguments, as in ``"price:{symbol}"`` or
    ``"{user.id}"``, or functions of them. Without ``key`` all arguments together are the key.

    >>> def profile(user_id, lang="en"): ...
    >>> calls = Calls(profile, tags=["user:{user_id}"])
    >>> calls.of((42,), {}).key, calls.of((), {"lang": "en", "user_id": 42}).key
    ('[42,"en"]', '[42,"en"]')
    >>> calls.of((42,), {}).tags
    ('user:42',)

    Raises:
        BadArgument: a template names what is no parameter.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        key: Template | None = None,
        tags: Iterable[Template] | Callable[..., Iterable[str]] = (),
    ) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.signature = inspect.signature(function)
        parameters = self.signature.parameters.values()
        plain = all(parameter.kind in _POSITIONAL for parameter in parameters)
        # A call with exactly so many positional arguments needs no binding (2 us saved).
        self._complete = len(parameters) if plain else -1
        self._key = None if key is None else self._template("key", key)
        if isinstance(tags, str):
            raise BadArgument(f'tags = {tags!r} must be a list, such as ["{tags}"].')
        self._all_tags = tags if callable(tags) else None
        self._tags = () if callable(tags) else tuple(self._template("tags", tag) for tag in tags)

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Return a call's canonical form.

        Raises:
            TypeError: the function does not take these arguments.
            BadArgument: an argument is of a type that names no key.
        """
        if kwargs or len(args) != self._complete:
            bound = self.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        return self.bound(args, kwargs)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Return the canonical form of a call that has all its arguments, defaults too."""
        tags = self._tags_of(args, kwargs)
        if self._key is not None:
            return self._keyed(args, kwargs, tags)
        try:
            call = canonical(args, kwargs)
        except _NoKeyError as error:
            raise BadArgument(self._refusal(error.args[0], args, kwargs)) from None
        return call._replace(tags=tags) if tags else call

    def _keyed(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], tags: tuple[str, ...]
    ) -> Call:
        assert self._key is not None
        found = self._key(args, kwargs)
        if isinstance(found, str):
            key = _shortened(found)
        else:
            try:
                key = canonical((found,), {}).key
            except _NoKeyError as error:
                raise BadArgument(
                    f"key= of {self.name} returned a {error.args[0]}; return text, or a list or "
                    "tuple of numbers, text, bytes, dates, enums or UUIDs."
                ) from None
        try:
            plain = canonical(args, kwargs)
        except _NoKeyError:  # it is what key= is for
            return Call(key, args, kwargs, replayable=False, tags=tags)
        return Call(key, args, kwargs, plain.replayable, plain.text, tags)

    def _tags_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        if self._all_tags is not None:
            return tuple(self._all_tags(*args, **kwargs))
        return tuple(str(tag(args, kwargs)) for tag in self._tags)

    def _template(self, what: str, template: Template) -> Callable[[Any, Any], Any]:
        if callable(template):
            return lambda args, kwargs: template(*args, **kwargs)
        names = list(self.signature.parameters)
        for _, field, _, _ in Formatter().parse(template):
            named = None if field is None else re.split(r"[.\[]", field, maxsplit=1)[0]
            if named is not None and named not in names:
                raise BadArgument(
                    f"{what} = {template!r} of {self.name} names {named!r}, which is no parameter; "
                    f"use {', '.join(f'{{{name}}}' for name in names) or 'none'}."
                )
        if not names:
            return lambda _args, _kwargs: template.format()
        signature = self.signature

        def fill(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
            return template.format(**signature.bind(*args, **kwargs).arguments)

        return fill

    def _refusal(self, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Say which argument can't be part of a key, and what to do."""
        culprit = ""
        for name, value in self.signature.bind(*args, **kwargs).arguments.items():
            culprit = name
            try:
                canonical((value,), {})
            except _NoKeyError:
                break
        return (
            f"argument {culprit!r} of {self.name} is a {kind}, which names no cache key; pass "
            "numbers, text, bytes, dates, enums, UUIDs, lists or dicts with text keys, or say what "
            f'identifies the call, as in key="{{{culprit}.id}}". (Rather cache a function than a '
            "method.)"
        )


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
    text = _shortened(text)
    return Call(text, args, kwargs, replayable, text)


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_KEY:
        return text
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


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
