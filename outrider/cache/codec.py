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
_VERSION = 2
# Longer messages are compressed, and kept so if that saves a tenth.
COMPRESS_ABOVE_BYTES = 1024
_WORTH_IT = 0.9
_LEVEL = 1  # of zstd: 400 MB/s, and the step to the next ones saves little
_ZSTD = b"\x28\xb5\x2f\xfd"  # its magic number; no message of ours begins so
# What a compressed message may become: a damaged or hostile one must not fill the memory.
_MOST_BYTES = 256 * 2**20
_FAILURES = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class Entry(msgspec.Struct, Generic[T], array_like=True):
    """What stands behind one key in Redis.

    ``warmed_from_s`` is set on a value that was loaded ahead of need: from then on, when the value
    before it would have expired, a hit is owed to warming. ``loader_version`` is that of the
    function which loaded it: the values of another are not ours. ``typed``: to be decoded as the
    function's return annotation, and as nothing else.
    """

    version: int
    loader_version: str
    typed: bool
    expires_s: float
    warmed_from_s: float | None
    value: T


class Codec:
    """Encodes the values of one function. ``name`` is shown in errors, ``returns`` is its type.

    Messages of more than :data:`COMPRESS_ABOVE_BYTES` are compressed with zstd.
    """

    def __init__(self, name: str, returns: Any = Any, *, loader_version: str = "") -> None:
        self.name = name
        self._loader_version = loader_version
        self._plain = msgspec.msgpack.Decoder(Entry[Any])
        try:
            self._typed = msgspec.msgpack.Decoder(Entry[returns]) if returns is not Any else None
        except TypeError:  # an annotation that msgspec does not know, such as a Protocol
            self._typed = None

    @classmethod
    def of(cls, function: Any, *, loader_version: str = "") -> Codec:
        """Return the codec of a function's return values."""
        try:
            returns = get_type_hints(function).get("return", Any)
        except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
            returns = Any
        name = f"{function.__module__}.{function.__qualname__}"
        return cls(name, returns, loader_version=loader_version)

    def encode(self, value: Any, *, expires_s: float, warmed_from_s: float | None = None) -> bytes:
        """Return a value as bytes.

        Raises:
            BadArgument: msgpack can't express it, or it would not come back the same.
        """
        for typed in (True, False) if self._typed else (False,):
            try:
                message = msgspec.msgpack.encode(
                    Entry(_VERSION, self._loader_version, typed, expires_s, warmed_from_s, value)
                )
                if _same(value, self._decode(message).value):
                    return _compressed(message)
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
        return self._decode(self._expanded(message) if message[:4] == _ZSTD else message)

    def _decode(self, message: bytes) -> Entry[Any]:
        try:
            entry = self._plain.decode(message)
            if entry.typed and self._typed is not None:
                entry = self._typed.decode(message)
        except _FAILURES as error:
            raise StoreError(f"a cached value of {self.name} can't be read ({error}).") from None
        if (
            entry.version != _VERSION
            or entry.loader_version != self._loader_version
            or (entry.typed and self._typed is None)
        ):
            raise StoreError(f"a cached value of {self.name} is of another version.")
        return entry

    def _expanded(self, message: bytes) -> bytes:
        import zstandard

        try:
            size = zstandard.frame_content_size(message)
            if not 0 <= size <= _MOST_BYTES:
                raise StoreError(
                    f"a cached value of {self.name} says it is {size} bytes long, which is not"
                    f" within {_MOST_BYTES}."
                )
            return zstandard.ZstdDecompressor().decompress(message)
        except (zstandard.ZstdError, MemoryError) as error:
            raise StoreError(f"a cached value of {self.name} can't be read ({error}).") from None

    def _refusal(self, value: Any, why: str) -> BadArgument:
        return BadArgument(
            f"{self.name} returned a {type(value).__qualname__} that can't be cached ({why}); "
            "return plain data, annotate the return type (a dataclass, a tuple), or keep it in an "
            "outrider.cache.MemoryCache of your own."
        )


def _compressed(message: bytes) -> bytes:
    if len(message) <= COMPRESS_ABOVE_BYTES:
        return message
    import zstandard

    smaller = zstandard.ZstdCompressor(level=_LEVEL).compress(message)
    return smaller if len(smaller) < len(message) * _WORTH_IT else message


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
