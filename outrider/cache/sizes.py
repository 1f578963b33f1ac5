"""About how much memory a value takes: counted, not measured, and never for long."""

from __future__ import annotations

import sys
from typing import Any

# A value of more parts is judged by its first ones.
MOST_PARTS = 1000


def estimate(value: Any) -> int:
    """Return the bytes of a value and of what it holds, shared parts counted once.

    >>> estimate("a" * 1000) > 1000, estimate(["a" * 1000] * 3) < 3000
    (True, True)
    """
    seen: set[int] = set()
    waiting = [value]
    counted, total = 0, 0
    while waiting and counted < MOST_PARTS:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        counted += 1
        total += sys.getsizeof(part, 64)
        waiting.extend(_held_by(part, MOST_PARTS))
    left = len(waiting)
    return total if not left else total * (counted + left) // counted


def _held_by(part: Any, most: int) -> list[Any]:
    if isinstance(part, str | bytes | bytearray | int | float | None):
        return []
    if isinstance(part, dict):
        return [each for item in list(part.items())[:most] for each in item]
    if isinstance(part, list | tuple | set | frozenset):
        return list(part)[:most]
    fields = [getattr(part, "__dict__", None)]
    for kind in type(part).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        fields += [getattr(part, name, None) for name in names]
    return [each for each in fields if each is not None]
