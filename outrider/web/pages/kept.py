"""The last answer of each page: shared by those who ask at once, and shown while Redis is away."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST = 64
LONGEST = 300
# What a page may be asked; anything else in an address is the browser's own.
FIELDS = ("host", "name", "namespace", "by", "start", "end")

Answer = dict[str, Any]


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_s: float = float("-inf")
    answer: Answer | None = None


class Kept:
    """Answers of pages by what was asked. ``problem`` says in words why an answer can't be had."""

    def __init__(self, problem: Callable[[Exception], str]) -> None:
        self._problem = problem
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def answer(
        self,
        page: str,
        asked: Mapping[str, str],
        make: Callable[[dict[str, str]], Answer],
        *,
        max_age_s: float,
    ) -> Answer:
        """Return what ``make`` does, at most so old; those who ask the same wait for one answer.

        With Redis away the last answer is returned, with ``problem`` beside it.

        Raises:
            BadArgument: a field is too long, or ``make`` refuses it.
            redis.RedisError: Redis is away, and nothing was known before.
        """
        fields = _fields(asked)
        entry = self._entry((page, *(f"{name}={fields[name]}" for name in fields)))
        with entry.lock:
            if time.monotonic() - entry.at_s < max_age_s and entry.answer is not None:
                return entry.answer
            try:
                entry.answer = make(fields) | {"problem": None}
                entry.at_s = time.monotonic()
            except (redis.RedisError, OSError) as error:
                if entry.answer is None:
                    raise
                return entry.answer | {"problem": self._problem(error)}
            return entry.answer

    def _entry(self, key: tuple[str, ...]) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > MOST:
                self._entries.popitem(last=False)
            return entry


def _fields(asked: Mapping[str, str]) -> dict[str, str]:
    found = {name: asked[name] for name in FIELDS if asked.get(name)}
    for name, text in found.items():
        if len(text) > LONGEST:
            raise BadArgument(f"{name} has {len(text)} letters; {LONGEST} are allowed.")
    return found
