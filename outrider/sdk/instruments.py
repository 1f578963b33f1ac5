"""Counters and timers that threads share without a lock on the way of the bot.

A call does nothing but append to a deque, which Python documents as thread-safe, as it does taking
from one: every number is taken exactly once. So nothing rests on what the interpreter happens to do
between two bytecodes; ``total += by`` on an attribute would, and loses increments when threads
change in between. What has gathered is added up in one go, at every ``FOLD_AT`` calls by the thread
that makes the last of them, and before each frame. Adding up is guarded by a lock for which a bot's
call does not wait: who finds it taken leaves the work to who has it. So a call costs little with
many threads too, and may come from a signal handler. Only threads that do nothing but count, faster
than one of them adds up, wait for it, a millisecond or so (``MOST_WAITING``): adding up takes
longer than appending, and what waits would grow for ever.

Measured beside it: totals for each thread (a tenth dearer, and the end of a thread must be noticed)
and a lock around ``+=`` (twice as dear, and all wait for a holder that is not running).
"""

from __future__ import annotations

import threading
from collections import deque
from math import ceil, fsum, log2, nan

from outrider import sketch
from outrider.sdk.timed import FOLD_AT, Block

TYPE_CHECKING = False  # typing alone would be a third of what a bot's start may cost
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

# Numbers that may wait to be added up: 128 KiB a name. Usually there are FOLD_AT at most.
MOST_WAITING = 4096
# Who finds so many waits so long for who adds up. Only a signal handler that interrupted that one
# can wait in vain, and goes on.
BACKLOG_WITHIN_S = 0.05
# The same for who builds a frame, and then has what was added up before.
FOLD_WITHIN_S = 0.5
# Totals stay finite: nobody could do anything with an infinite counter.
MOST = 1e300
# A name in a module is found quicker than one in another.
_PER_LOG2, _SMALLEST, _LARGEST = sketch.PER_LOG2, sketch.SMALLEST, sketch.LARGEST
_ZERO_BUCKET = sketch.ZERO_BUCKET


class Counter:
    """A number that only grows. Keep one at hand for what is counted very often."""

    __slots__ = ("_adding", "_pending", "_total", "held", "refused", "shown")

    def __init__(self) -> None:
        self.held = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything, as at the start or in a child."""
        self._adding = threading.Lock()
        self._pending: deque[float] = deque()
        self._total = 0.0
        self.shown = self.held
        self.refused = 0

    def hold(self) -> Self:
        """Note that somebody keeps it: it is told even while it is 0, and goes on in a child."""
        self.held = self.shown = True
        return self

    def add(self, by: float = 1) -> None:
        """Add to it. What is negative or not finite is not added; it counts as refused.

        Raises:
            TypeError: ``by`` is no number.
        """
        try:
            self._pending.append(by if by >= 0 else nan)
        except TypeError:
            self.add(float(by))  # "2" is one; of what is none, a TypeError
        if len(self._pending) >= FOLD_AT and _may_fold(self._adding, len(self._pending)):
            self._fold()

    def total(self) -> float:
        """Return the sum of all that was added."""
        if self._adding.acquire(timeout=FOLD_WITHIN_S):
            self._fold()
        return self._total

    def _fold(self) -> None:
        """Add up what waits, and let go of the lock."""
        try:
            batch, added, refused = _taken(self._pending)
            self.refused += refused
            self.shown = self.shown or bool(batch)
            self._total = min(self._total + added, MOST)
        finally:
            self._adding.release()


class Timer:
    """How often something was done and how long it took. Keep one at hand for what is done often.

    Its histogram holds every call since the bot's start, each within one per cent.
    """

    __slots__ = (
        "_adding", "_buckets", "_errors", "_errors_of", "_longest_s", "_total_s",
        "held", "pending", "refused", "shown",
    )  # fmt: skip

    def __init__(self, errors_of: Callable[[], Counter]) -> None:
        self._errors_of = errors_of
        self.held = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything, as at the start or in a child."""
        self._adding = threading.Lock()
        self._errors: Counter | None = None
        self.pending: deque[float] = deque()
        self._buckets: dict[int, int] = {}
        self._total_s = self._longest_s = 0.0
        self.shown = self.held
        self.refused = 0

    def hold(self) -> Self:
        """Note that somebody keeps it: it is told even while it is 0, and goes on in a child."""
        self.held = self.shown = True
        return self

    def observe(self, seconds: float) -> None:
        """Add one duration. One below nothing, from a clock that was set back, counts as nothing.

        What is not finite is not added; it counts as refused.

        Raises:
            TypeError: ``seconds`` is no number.
        """
        try:
            self.pending.append(seconds if seconds >= 0 else _clocked(seconds))
        except TypeError:
            self.observe(float(seconds))
        if len(self.pending) >= FOLD_AT:
            self.fold()

    def timed(self) -> Block:
        """Time a block or a function, as :meth:`outrider.Bot.timed` does."""
        return Block(self)

    def fold(self) -> None:
        """Add up what waits, unless somebody does."""
        if _may_fold(self._adding, len(self.pending)):
            self._fold()

    def fail(self) -> None:
        """Count an error beside it."""
        if self._errors is None:
            self._errors = self._errors_of()
        self._errors.add()

    def state(self) -> tuple[int, float, float, dict[int, int]]:
        """Return count, sum, the longest since this was last asked, and a copy of the buckets."""
        if self._adding.acquire(timeout=FOLD_WITHIN_S):
            longest_s = self._fold(longest_from_s=0.0)
        else:
            longest_s = self._longest_s
        buckets = self._buckets.copy()
        return sum(buckets.values()), self._total_s, longest_s, buckets

    def _fold(self, longest_from_s: float | None = None) -> float:
        """Add up what waits, and let go of the lock. Return the longest, which may begin anew."""
        try:
            batch, added_s, refused = _taken(self.pending)
            self.refused += refused
            if batch:
                self.shown = True
                longest_s = float(max(batch))
                if longest_s > _LARGEST:
                    batch, longest_s = [min(each, _LARGEST) for each in batch], _LARGEST
                    added_s = fsum(batch)
                self._total_s = min(self._total_s + added_s, MOST)
                self._longest_s = max(self._longest_s, longest_s)
                _sort_in(batch, self._buckets)
            longest_s = self._longest_s
            if longest_from_s is not None:
                self._longest_s = longest_from_s
            return longest_s
        finally:
            self._adding.release()


def _may_fold(adding: threading.Lock, waiting: int) -> bool:
    """Take the lock if it is free, or, when far too much waits, when it is."""
    return adding.acquire(timeout=0 if waiting < MOST_WAITING else BACKLOG_WITHIN_S)


def _clocked(seconds: float) -> float:
    return 0.0 if seconds < 0 else nan


def _sort_in(batch: list[float], buckets: dict[int, int]) -> None:
    """Count each duration in its bucket: ``sketch.index`` without its checks, written out."""
    for seconds in batch:
        place = ceil(log2(seconds) * _PER_LOG2) if seconds >= _SMALLEST else _ZERO_BUCKET
        try:
            buckets[place] += 1
        except KeyError:
            buckets[place] = 1


def _taken(pending: deque[float]) -> tuple[list[float], float, int]:
    """Take what waits now; return the numbers, their sum, and how many there were that are none."""
    take = pending.popleft
    batch = [take() for _ in range(len(pending))]
    try:
        if (added := fsum(batch)) <= MOST:  # NaN is not, and infinity is not
            return batch, added, 0
    except (TypeError, ValueError, ArithmeticError):
        pass  # somebody's own kind of number, which can be compared and nothing else
    good = [number for number in map(_number, batch) if number <= MOST]
    return good, fsum(good), len(batch) - len(good)


def _number(given: float) -> float:
    try:
        return float(given)
    except (TypeError, ValueError, ArithmeticError):
        return nan
