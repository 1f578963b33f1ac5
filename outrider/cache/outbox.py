"""What could not be sent to Redis, to be sent in order when it is back: bounded, and compact.

Of several changes of one key only the last matters: an invalidation makes the writes before it
unnecessary, a write the writes before it. What a bound has no room for is not lost in silence: a
value too large becomes an invalidation of its key, and beyond the number of changes the whole
namespace is owed a flush, which stands for every change of it so far.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CHANGES = 10_000
MOST_BYTES = 16 * 2**20


@dataclass(slots=True, kw_only=True)  # frozen would cost a call during an outage 1 us
class Change:
    """A change that is owed. ``kind``: w(rite), or to invalidate a k(ey), a t(ag), n(amespace)."""

    kind: str
    namespace: str
    version: str = ""
    key: str = ""  # or tag
    message: bytes = b""
    dies_s: float = 0.0  # monotonic: when a written value has lived its life
    tags: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, str]:
        """What it changes: a later change of the same place replaces it."""
        return (self.kind, self.namespace, self.key)


class Outbox:
    """The changes that are owed, in order. Hold :attr:`lock` from asking to adding."""

    def __init__(self, *, most: int = MOST_CHANGES, most_bytes: int = MOST_BYTES) -> None:
        self.lock = threading.RLock()
        self.overflowed = 0  # changes that there was no room for: their namespace is flushed
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._changes: dict[tuple[str, str, str], Change] = {}

    def __len__(self) -> int:
        """Return how many changes are owed."""
        return len(self._changes)

    def add(self, change: Change) -> None:
        """Owe a change, after all that are owed already."""
        if change.kind == "n":
            self._drop(change.namespace)
        elif change.kind == "w" and self._bytes + len(change.message) > self._most_bytes:
            change = replace(change, kind="k", message=b"", tags=())
        if change.kind == "k":
            self._remove(("w", change.namespace, change.key))
        place = change.place
        if place in self._changes:
            self._remove(place)
        if change.kind != "n" and len(self._changes) >= self._most:
            self.overflowed += 1 + self._drop(change.namespace)
            change = replace(change, kind="n", key="", message=b"", tags=())
            place = change.place
        elif change.kind == "k" and self._is_last(("n", change.namespace, "")):
            return  # nothing was written since the flush that is owed anyway
        self._changes[place] = change
        self._bytes += len(change.message)

    def take(
        self, most: int | None = None, which: Callable[[Change], bool] = lambda _: True
    ) -> list[Change]:
        """Return what is owed, in order, and owe it no more: at most so much, of that kind."""
        taken = list(itertools.islice(filter(which, self._changes.values()), most))
        for change in taken:
            self._remove(change.place)
        return taken

    def put_back(self, sent: list[Change]) -> None:
        """Owe again what was sent and not answered for, before all that came later."""
        for change in [*sent, *self.take()]:
            self.add(change)

    def _is_last(self, place: tuple[str, str, str]) -> bool:
        return place in self._changes and next(reversed(self._changes)) == place

    def _remove(self, place: tuple[str, str, str]) -> None:
        gone = self._changes.pop(place, None)
        if gone is not None:
            self._bytes -= len(gone.message)

    def _drop(self, namespace: str) -> int:
        places = [place for place in self._changes if place[1] == namespace]
        for place in places:
            self._remove(place)
        return len(places)
