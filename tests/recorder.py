"""A bot that keeps what it is told, value by value: what integrations are tested with."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeVar, cast

import outrider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
PATIENCE_S = 30.0


class Recorder:
    """The methods of ``outrider.Bot`` that integrations may use, and no others."""

    name = "canary"

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.timings: dict[str, list[float]] = defaultdict(list)
        self._sources: list[Callable[[], Mapping[str, float]]] = []

    def count(self, name: str, by: float = 1) -> None:
        self.counters[name] += int(by)

    def observe(self, name: str, seconds: float) -> None:
        self.timings[name].append(seconds)

    def add_source(self, source: Callable[[], Mapping[str, float]]) -> None:
        self._sources.append(source)

    def add_timings(self, source: Callable[[], Mapping[str, Any]]) -> None:
        """Take a source of histograms; what they hold, the tests of their room look at."""

    def instrument(self, thing: T) -> T:
        return outrider.instrument(thing, bot=cast("outrider.Bot", self))

    @property
    def gauges(self) -> dict[str, float]:
        return {name: value for source in self._sources for name, value in source().items()}

    def counted(self, *prefixes: str) -> dict[str, int]:
        """Return the counters below these prefixes."""
        return {name: n for name, n in self.counters.items() if name.startswith(prefixes)}

    def timed(self, *prefixes: str) -> dict[str, int]:
        """Return how often each timing below these prefixes was observed."""
        return {
            name: len(seconds)
            for name, seconds in self.timings.items()
            if name.startswith(prefixes)
        }

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, (self.counters, self.timed(""))
            await asyncio.sleep(0.005)
