"""How long the messages of a queue wait, told from outside: a lower bound.

On Redis a message carries no time, and a queue is a list that grows at one end and is taken from at
the other. So we note at each look how many messages there were: all of them are at least as old as
that look. To know at a later look which of them are left, we must know how many were taken
meanwhile, and that we see by the marks (parts of delivery tags) of some messages: if the first in
line now was the 40th then, 40 were taken.

A *step* ``(position, seen_s)`` says: who stands at that position or nearer to the exit was there
at ``seen_s``. The oldest step that still stands bounds the age of the message next in line. The
marks are those of the ``NEAR`` next in line, of every ``NEAR``-th behind, and of the last, so that
one of them is found again unless more than ``NEAR * FAR`` were taken between two looks; then
counting begins anew.
"""

from __future__ import annotations

import msgspec

# 8,192 messages between two looks ten seconds apart: 800 a second from one queue.
NEAR = 128
FAR = 64
MOST_STEPS = 64


class Line(msgspec.Struct, array_like=True):
    """A queue as it was seen: marks by position, the exit being 0, and steps, the oldest first."""

    marks: dict[str, int]
    steps: list[tuple[int, float]]


def look(
    before: Line | None,
    near: list[str],
    far: list[str],
    last: str,
    *,
    length: int,
    now_s: float,
) -> tuple[Line, float]:
    """Return the line as it is now, and for how many seconds at least its first has waited.

    >>> line, age_s = look(None, ["a", "b"], [], "b", length=2, now_s=100.0)
    >>> line, age_s = look(line, ["b", "c"], [], "c", length=2, now_s=110.0)  # a was taken, c came
    >>> age_s
    10.0
    >>> look(line, ["c"], [], "c", length=1, now_s=120.0)[1]
    10.0
    """
    steps = _left(before, near, length)
    steps.append((length, now_s))
    if len(steps) > MOST_STEPS:  # fewer steps are a coarser bound, and still one
        steps = [steps[0], *steps[1:-1:2], steps[-1]]
    marks = {last: length - 1} if last else {}
    marks |= {mark: place * NEAR for place, mark in enumerate(far, start=1) if mark}
    marks |= {mark: place for place, mark in enumerate(near) if mark}
    return Line(marks, steps), now_s - steps[0][1]


def _left(before: Line | None, near: list[str], length: int) -> list[tuple[int, float]]:
    """Return the steps that still stand, where they stand now."""
    if before is None:
        return []
    taken = next((before.marks[mark] - place for place, mark in enumerate(near)
                  if mark in before.marks), None)  # fmt: skip
    if taken is None:
        return []
    # Messages that came back stand in front of all: then taken is negative.
    return [
        (min(position - taken, length), seen_s)
        for position, seen_s in before.steps
        if position > taken
    ]
