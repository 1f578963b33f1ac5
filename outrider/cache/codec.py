"""Cached values as msgpack: small, quick, and unable to run code, which pickle is not.

What is kept must come back as it was: a tuple that returns as a list would make the second call
differ from the first. So a value is decoded once when it is stored, with the function's return
annotation if msgspec understands it (dataclasses, structs, tuples, sets and dates then survive),
and a value that does not come back equal is refused at once rather than on a busy day.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from outrider.errors import BadArgument, StoreError

T = TypeVar("T")
_VERSION = 1
_FAILURES = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class Entry(msgspec.Struct, Generic[T], array_like=True):
    """What stands behind one key in Redis.

    ``warmed_from_s`` is set on a value that was loaded ahead of need: from then on, when the value
    before it would have expired, a hit is owed to warming. ``typed``: to be decoded as the
    function's return annotation, and as nothing else.
    """

    version: int
    typed: bool
    expires_s: float
    warmed_from_s: float | None
    value: T


class Codec:
    """Encodes the values of one function. ``name`` is shown in errors, ``returns`` is its type."""

    def __init__(self, name: str, returns: Any = Any) -> None:
        self.name = name
        self._plain = msgspec.msgpack.Decoder(Entry[Any])
        try:
            self._typed = msgspec.msgpack.Decoder(Entry[returns]) if returns is not Any else None
        except TypeError:  # an annotation that msgspec does not know, such as a Protocol
            self._typed = None

    @classmethod
    def of(cls, function: Any) -> Codec:
        """Return the codec of a function's return values."""
        try:
            returns = get_type_hints(function).get("return", Any)
        except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
            returns = Any
        return cls(f"{function.__module__}.{function.__qualname__}", returns)

    def encode(self, value: Any, *, expires_s: float, warmed_from_s: float | None = None) -> bytes:
        """Return a value as bytes.

        Raises:
            BadArgument: msgpack can't express it, or it would not come back the same.
        """
        for typed in (True, False) if self._typed else (False,):
            try:
                message = msgspec.msgpack.encode(
                    Entry(_VERSION, typed, expires_s, warmed_from_s, value)
                )
                if _same(value, self.decode(message).value):
                    return message
            except StoreError:
                continue
            except _FAILURES as error:
                raise self._refusal(value, str(error)) from None
        raise self._refusal(value, "it would come back different, as a tuple does as a list")

    def decode(self, message: bytes) -> Entry[Any]:
        """Return what is kept in a message.

        Raises:
            StoreError: it is damaged, of another version, or no longer fits the annotation.
        """
        try:
            entry = self._plain.decode(message)
            if entry.typed and self._typed is not None:
                entry = self._typed.decode(message)
        except _FAILURES as error:
            raise StoreError(f"a cached value of {self.name} can't be read ({error}).") from None
        if entry.version != _VERSION or (entry.typed and self._typed is None):
            raise StoreError(f"a cached value of {self.name} is of another version.")
        return entry

    def _refusal(self, value: Any, why: str) -> BadArgument:
        return BadArgument(
            f"{self.name} returned a {type(value).__qualname__} that can't be cached ({why}); "
            "return plain data, annotate the return type (a dataclass, a tuple), or keep it in an "
            "outrider.cache.MemoryCache of your own."
        )


def _same(before: Any, after: Any) -> bool:
    if before == after:
        return True
    if isinstance(before, float) and isinstance(after, float):
        return math.isnan(before) and math.isnan(after)
    if isinstance(before, list | tuple) and type(before) is type(after):
        return len(before) == len(after) and all(map(_same, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(
            _same(value, after[key]) for key, value in before.items()
        )
    return False
