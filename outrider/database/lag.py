"""How far a replica is behind its primary, without believing either's clock.

A replica's own word is not enough: one whose link broke has replayed all that it received, and
reports no lag for ever; the time of its last transaction says little on a quiet server. So at each
look it is noted where in its log the primary stands, and the lag is the age of the newest note that
the replica has reached. It keeps growing while the primary can't be asked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# Ten minutes of looks; whoever is further behind is behind enough.
_NOTES = 600


@dataclass(frozen=True, slots=True)
class State:
    """Whether a replica may answer, why not, and how far it is behind.

    ``commits`` is how many of this process's own commits it surely has.
    """

    usable: bool
    reason: str
    lag_s: float | None = None
    lag_bytes: int | None = None
    commits: int = -1


@dataclass(frozen=True, slots=True)
class Note:
    """Where the primary stood at a moment, and how often this process had committed by then."""

    at_s: float
    place: int
    commits: int


class Lag:
    """Judges a replica by notes of its primary. Places are bytes in the log.

    >>> lag = Lag(limit_s=5)
    >>> lag.note(Note(10.0, 100, 0))
    >>> lag.judge(10.0, replayed=100, received=100).usable
    True
    >>> lag.note(Note(14.0, 900, 1))
    >>> lag.judge(14.0, replayed=100, received=100).lag_s
    4.0
    """

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._notes: deque[Note] = deque(maxlen=_NOTES)
        self._replayed, self._moved_s = -1, 0.0

    def note(self, note: Note) -> None:
        """Remember where the primary stands."""
        if self._notes and self._notes[-1].place == note.place:
            self._notes.pop()  # it has not moved: the newer note says more
        self._notes.append(note)

    def judge(self, at_s: float, *, replayed: int, received: int) -> State:
        """Return the state of a replica that has received and replayed so much."""
        if replayed != self._replayed:
            self._replayed, self._moved_s = replayed, at_s
        if not self._notes:
            return State(False, "the primary was never seen, so nothing says how far behind it is")
        behind = max(0, self._notes[-1].place - replayed)
        reached = next((note for note in reversed(self._notes) if note.place <= replayed), None)
        if reached is None:
            return State(False, "it has not come to where the primary was first seen", None, behind)
        lag_s = at_s - reached.at_s
        if lag_s <= self._limit_s:
            return State(True, "near", lag_s, behind, reached.commits)
        why = f"{lag_s:.1f} s behind, where {self._limit_s:g} s are allowed"
        still_s = at_s - self._moved_s
        if behind and still_s >= self._limit_s:
            held = "its replay is held" if received > replayed else "nothing reaches it"
            why = f"it stands still for {still_s:.1f} s while the primary moves: {held}"
        elif not behind:
            why = f"the primary was not seen for {lag_s:.1f} s"
        return State(False, why, lag_s, behind, reached.commits)
