"""A value as memory holds it, and when its life has which end.

::

    loaded ──────────► refresh_s ─────► fresh_until_s ───────────► dies_s
      a hit in memory     │   as before, and      │   stale: served, and
                          │   loaded beside       │   loaded beside

*refresh_s* lies ahead of the end by a random time in proportion to what a load takes: optimal
probabilistic early expiration (Vattani, Chierichetti, Lowenstein, VLDB 2015; "XFetch"). There a
reader draws at each read; here the draw is made once, when the value is kept, so that a hit needs
no clock. Each process draws its own, and the lease lets the first of them load.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

JITTER = 0.1
# The first of several processes to draw refreshes at about its own share of the load time ahead.
BETA = 1.0
MOST_AHEAD = 0.5  # of the time to live: a slow load must not make a value refresh all the time
# After a refresh that failed, a value is served for so long before the next is tried.
RETRY_S = 1.0


class Held:
    """What is known of one key in this process. Times are monotonic."""

    __slots__ = (
        "dies_s", "error", "fresh_until_s", "kept_s", "load_s", "refresh_s", "tags", "value",
        "warmed_from_s",
    )  # fmt: skip

    def __init__(
        self,
        value: Any,
        *,
        kept_s: float,
        fresh_s: float,
        stale_s: float = 0.0,
        ahead_s: float = 0.0,
        load_s: float = 0.0,
        tags: tuple[str, ...] = (),
        warmed_from_s: float | None = None,
        error: Exception | None = None,
    ) -> None:
        self.value = value
        self.kept_s = kept_s
        self.fresh_until_s = kept_s + fresh_s
        self.refresh_s = self.fresh_until_s - min(ahead_s, MOST_AHEAD * max(0.0, fresh_s))
        self.dies_s = self.fresh_until_s + stale_s
        self.load_s = load_s
        self.tags = tags
        self.warmed_from_s = warmed_from_s  # wall time from which a hit is owed to warming
        self.error = error


def jittered(ttl_s: float, share: float, namespace: str, key: str) -> float:
    """Return a time to live that is shorter by up to ``share``, the same for a key everywhere.

    Keys that were loaded together so expire apart. It depends on the key alone, so that of two
    values of one key the one that lives longer is the newer.

    >>> jittered(100, 0.1, "n", "a") == jittered(100, 0.1, "n", "a") != jittered(100, 0.1, "n", "b")
    True
    """
    return ttl_s * (1.0 - share * zlib.crc32(f"{namespace}:{key}".encode(errors="replace")) / 2**32)


def ahead_s(load_s: float, draw: Callable[[], float]) -> float:
    """Return how long before its end a value that took so long to load is to be refreshed."""
    return -BETA * load_s * math.log(1.0 - draw())
