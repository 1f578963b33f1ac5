"""Remembers when within an hour, or a day, demand surges: other people's cron jobs are punctual.

A period is cut into slots. Each slot keeps how far demand rose above where it stood when the slot
began, as a ratio: how often it was a surge, and how large those were. A slot counts when it surged
often, and several times as often as the period on the whole: a load that surges anywhere shows
every slot some of it, and is the business of the margin (see :mod:`outrider.supervisor.scaling`).
"""

from __future__ import annotations

# A rise is a surge from this ratio on: less is what the wait allowed absorbs anyway.
SURGE = 1.4
# A slot counts when at least this share of its past periods, weighted to the latest, surged ...
_OFTEN = 0.2
# ... and as many times the share of all slots ...
_LIFT = 3.0
# ... after as many periods: one surge is an event, two may be a rhythm.
_LEAST_PERIODS = 3
_LEARN = 0.12  # weight of the newest period: one alone is not often
_FADE = 0.9  # a surge's size fades by this a period without one as large


class Rhythm:
    """The surges of one period of ``period_s``, in slots of ``slot_s``."""

    def __init__(self, period_s: float, slot_s: float) -> None:
        self._slot_s = slot_s
        count = int(period_s / slot_s)
        self._count = count
        self._often = [0.0] * count
        self._size = [1.0] * count
        self._seen = [0] * count
        self._usual = 0.0
        self._slot = -1
        self._level = self._peak = 0.0

    def observe(self, at_s: float, demand: float, expected: float) -> None:
        """Learn the demand at a time; ``expected`` is what was forecast for it without rhythm."""
        slot = int(at_s / self._slot_s)
        if slot != self._slot:
            if self._slot >= 0:
                self._close(self._slot % self._count)
            self._slot, self._level, self._peak = slot, max(expected, 1.0), 0.0
        self._peak = max(self._peak, demand)

    def anticipated(self, from_s: float, until_s: float, expected: float) -> float:
        """Return the demand that the rhythm knows of in a stretch of time, 0.0 when of none.

        ``expected`` is what is forecast without it. In a slot that has begun, surges are measured
        from where demand stood at its beginning: one that has come does not come on top of itself.
        """
        first, last = int(from_s / self._slot_s), int(until_s / self._slot_s)
        most = 0.0
        for slot in range(first, min(last, first + self._count) + 1):
            ratio = self._of(slot % self._count)
            if ratio > 1.0:
                most = max(most, ratio * (self._level if slot == self._slot else expected))
        return most

    def _of(self, slot: int) -> float:
        if self._seen[slot] < _LEAST_PERIODS:
            return 1.0
        return self._size[slot] if self._often[slot] >= max(_OFTEN, _LIFT * self._usual) else 1.0

    def _close(self, slot: int) -> None:
        """Learn what a slot was like, now that it is over."""
        rose = self._peak / self._level
        surged = rose >= SURGE
        self._seen[slot] += 1
        self._usual += _LEARN / self._count * (surged - self._usual)
        self._often[slot] += _LEARN * (surged - self._often[slot])
        self._size[slot] = max(rose, 1.0 + _FADE * (self._size[slot] - 1.0))
