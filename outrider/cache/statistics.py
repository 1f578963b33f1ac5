"""What one cache did since its process started."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Statistics:
    """Counters. Added to without a lock: CPython does not switch threads inside ``x += 1``."""

    hits_memory: int = 0
    hits_redis: int = 0
    warmed_hits: int = 0  # first hits on values that warming loaded and that would have been misses
    misses: int = 0
    waits: int = 0  # calls that waited for another one's load of the same key
    loads: int = 0
    load_s: float = 0.0
    errors: int = 0  # loads that raised
    unreadable: int = 0  # values in Redis that could not be decoded; loaded anew
    fallbacks: int = 0  # misses that Redis was not, or could not be, asked about
    stale_hits: int = 0  # calls served with a value past its time to live, while it was loaded anew
    refreshes: int = 0  # loads beside a value that was still served
    fenced: int = 0  # loads whose value was not kept: invalidated, or newer elsewhere, meanwhile
    unsent_writes: int = 0
    unsent_invalidations: int = 0

    @property
    def hits(self) -> int:
        """Hits of both tiers."""
        return self.hits_memory + self.hits_redis

    @property
    def hit_ratio(self) -> float:
        """Hits as a share of all calls; 0 before the first."""
        calls = self.hits + self.misses + self.waits
        return self.hits / calls if calls else 0.0

    def as_dict(self) -> dict[str, float]:
        """Return every number by name.

        >>> Statistics(hits_memory=3, misses=1).as_dict()["hit_ratio"]
        0.75
        """
        counted: dict[str, float] = asdict(self)
        return {"hits": self.hits, "hit_ratio": self.hit_ratio} | counted
