"""Keys that are loaded together: what followed a key's last loads will follow its next.

Only *wakes* are looked at, the uses for which plain caching would load: they are few, and they are
what warming wants to foresee (Mithril, SoCC 2017, mines misses for the same reason). A wake within
a few seconds after another's is that key's follower. How often a follower really follows is left to
the calibration, so that one common occurrence already counts for what it is worth here: much where
pages have parts, nothing in a crowd. Where nothing comes of it, mining rests most of the time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable

WITHIN_S = 3.0
_MOST_RECENT = 32
MOST_FOLLOWERS = 32
MOST_LEADERS = 20_000
_PERIOD = 4000  # wakes between two looks at whether it pays
_REST_PERIODS = 7
_LEAST_USEFUL = 0.01  # loads that served, as a share of wakes


class Follower(NamedTuple):
    """A key that followed another: how often, of how many wakes, and whether the last time too."""

    key: Hashable
    times: int
    wakes: int
    lately: bool


class Followers:
    """What followed one key: follower -> ``[times, wake at which it last did]``."""

    __slots__ = ("of", "wakes")

    def __init__(self) -> None:
        self.of: dict[Hashable, list[int]] = {}
        self.wakes = 0

    def follow(self, key: Hashable) -> None:
        """Note that ``key`` woke soon after."""
        known = self.of.get(key)
        if known is None:
            if len(self.of) >= MOST_FOLLOWERS:
                del self.of[min(self.of, key=lambda other: self.of[other][0])]
            self.of[key] = [1, self.wakes]
        elif known[1] != self.wakes:
            known[0] += 1
            known[1] = self.wakes


class Association:
    """The followers of the keys of one namespace, as many as were leaders last."""

    __slots__ = ("_leaders", "_recent", "_rest", "_served", "_wakes", "_within_s")

    def __init__(self, ttl_s: float) -> None:
        self._within_s = min(WITHIN_S, ttl_s / 2)
        self._recent: deque[tuple[Hashable, float]] = deque(maxlen=_MOST_RECENT)
        self._leaders: dict[Hashable, Followers] = {}
        self._wakes = 0
        self._served = 0
        self._rest = 0

    def __len__(self) -> int:
        return len(self._leaders)

    @property
    def rests(self) -> bool:
        """Whether mining pauses, because little came of it."""
        return self._rest > 0

    def served(self) -> None:
        """Count a load ahead, made by association, that was used."""
        self._served += 1

    def wake(self, key: Hashable, at_s: float) -> list[Follower]:
        """Note a wake and return its followers so far."""
        self._wakes += 1
        if self._wakes >= _PERIOD:
            self._review()
        if self._rest:
            return []
        recent = self._recent
        while recent and recent[0][1] < at_s - self._within_s:
            recent.popleft()
        for leader, _ in recent:
            if leader != key:
                self._of(leader).follow(key)
        own = self._of(key)
        found = [
            Follower(follower, times, own.wakes, last == own.wakes)
            for follower, (times, last) in own.of.items()
        ]
        own.wakes += 1
        recent.append((key, at_s))
        return found

    def _of(self, key: Hashable) -> Followers:
        found = self._leaders.get(key)
        if found is None:
            if len(self._leaders) >= MOST_LEADERS:
                del self._leaders[next(iter(self._leaders))]
            found = self._leaders[key] = Followers()
        return found

    def _review(self) -> None:
        if self._rest:
            self._rest -= 1
        elif self._served < _LEAST_USEFUL * self._wakes:
            self._rest = _REST_PERIODS
            self._leaders.clear()
            self._recent.clear()
        self._wakes = 0
        self._served = 0
