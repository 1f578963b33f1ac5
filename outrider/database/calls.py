"""What each statement cost this process: calls, time, rows, errors, and a histogram.

Statements are told apart by the text that SQLAlchemy sends, which has no values in it. A call
appends to a deque and goes on; what has gathered is added up in one go, every ``FOLD_AT`` calls and
before somebody reads (see ``outrider.sdk.instruments`` for why this needs no lock on the way).
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from math import ceil, log2

from outrider import sketch

FOLD_AT = 256
# Texts with values in them would be new each time: what is beyond is added up under one name.
MOST_STATEMENTS = 300
OTHER = "(other statements)"
_PER_LOG2, _SMALLEST, _ZERO = sketch.PER_LOG2, sketch.SMALLEST, sketch.ZERO_BUCKET


@dataclass(slots=True)
class Cost:
    """Of one statement, or of all: times in seconds; ``squares`` is the sum of their squares."""

    calls: int = 0
    seconds: float = 0.0
    squares: float = 0.0
    longest_s: float = 0.0
    rows: int = 0
    errors: int = 0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Add one call."""
        place = ceil(log2(seconds) * _PER_LOG2) if seconds >= _SMALLEST else _ZERO
        self.calls += 1
        self.seconds += seconds
        self.squares += seconds * seconds
        self.longest_s = max(self.longest_s, seconds)
        try:
            self.buckets[place] += 1
        except KeyError:
            self.buckets[place] = 1

    def copy(self, *, anew: bool = False) -> Cost:
        """Return one that does not grow; ``anew``: look for the longest from now on."""
        copied = Cost(
            self.calls, self.seconds, self.squares, self.longest_s, self.rows, self.errors,
            self.buckets.copy(),
        )  # fmt: skip
        if anew:
            self.longest_s = 0.0
        return copied


class Costs:
    """Costs of one kind, added up in the background. Safe with threads; ``add`` never waits."""

    def __init__(self) -> None:
        self.pending: deque[float] = deque()
        self._lock = threading.Lock()
        self._sum = Cost()

    def add(self, seconds: float) -> None:
        """Add one duration."""
        self.pending.append(seconds)
        if len(self.pending) >= FOLD_AT and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def total(self, *, anew: bool = False) -> Cost:
        """Return all of them so far; ``anew``: look for the longest from now on."""
        with self._lock:
            self._fold()
            return self._sum.copy(anew=anew)

    def _fold(self) -> None:
        take = self.pending.popleft
        for _ in range(len(self.pending)):
            self._sum.add(take())


class Calls:
    """Costs by statement. Who counts appends ``(text, seconds, rows)``; rows None: it failed."""

    def __init__(self) -> None:
        self.pending: deque[tuple[str, float, int | None]] = deque()
        self._lock = threading.Lock()
        self._by_text: dict[str, Cost] = {}
        self._longest_s = 0.0

    def may_fold(self) -> None:
        """Add up what waits, unless somebody does."""
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def total(self) -> Cost:
        """Return the cost of all statements so far, but for their histogram."""
        total = Cost()
        with self._lock:
            self._fold()
            for cost in self._by_text.values():
                total.calls += cost.calls
                total.seconds += cost.seconds
                total.rows += cost.rows
                total.errors += cost.errors
            total.longest_s = self._longest_s
        return total

    def histogram(self) -> Cost:
        """Return the cost of all statements, its histogram too, the longest since this was asked.

        Costs some microseconds a statement.
        """
        total = self.total()
        with self._lock:
            total.buckets = sketch.merge(*(cost.buckets for cost in self._by_text.values()))
            total.calls = sum(total.buckets.values())
            self._longest_s = 0.0
        return total

    def by_statement(self) -> dict[str, Cost]:
        """Return the cost of each statement so far, by its text."""
        with self._lock:
            self._fold()
            return {text: cost.copy() for text, cost in self._by_text.items()}

    def _fold(self) -> None:
        # Written out, since it is most of what a statement costs us.
        take, known = self.pending.popleft, self._by_text
        longest_s = self._longest_s
        for _ in range(len(self.pending)):
            text, seconds, rows = take()
            cost = known.get(text) or self._new(text)
            cost.calls += 1
            cost.seconds += seconds
            if rows is None:
                cost.errors += 1
            elif rows > 0:  # drivers that don't know say -1
                cost.rows += rows
            if seconds > cost.longest_s:
                cost.longest_s = seconds
                longest_s = max(longest_s, seconds)
            elif seconds > longest_s:
                longest_s = seconds
            place = ceil(log2(seconds) * _PER_LOG2) if seconds >= _SMALLEST else _ZERO
            buckets = cost.buckets
            try:
                buckets[place] += 1
            except KeyError:
                buckets[place] = 1
        self._longest_s = longest_s

    def _new(self, text: str) -> Cost:
        if len(self._by_text) >= MOST_STATEMENTS:
            text = OTHER
        return self._by_text.setdefault(text, Cost())
