"""What a store of series can do. Every implementation passes ``tests/contracts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from outrider.samples import Row, Values, Window


class SeriesStore(Protocol):
    """Rows of named values, one a host and tick.

    Times are seconds since 1970. Ranges include their start and exclude their end. A row is
    written once: the first delivery wins.
    """

    interval_s: float

    def append(self, host: str, tick: int, values: Values) -> bool:
        """Keep a row. Return False, and change nothing, when that tick has one already.

        NaN, infinities and -0.0 come back as they went in. An empty row counts as a row.
        """
        ...

    def read(
        self, host: str, series: str, start_s: float, end_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(times_s, values)`` of one series, in time order, shape ``[n]`` each."""
        ...

    def window(self, host: str, start_s: float, end_s: float) -> Window:
        """Return all series of a host side by side."""
        ...

    def ticks(self, host: str, start_s: float, end_s: float) -> list[int]:
        """Return the numbers of the ticks that have a row, in order."""
        ...

    def last(self, host: str) -> Row | None:
        """Return the newest row of a host, or None."""
        ...

    def hosts(self) -> list[str]:
        """Return the hosts that have rows, by name."""
        ...

    def seal(self, host: str, now_s: float) -> int:
        """Compress the hours that are over. Return how many. Safe to repeat."""
        ...

    def expire(self, host: str, before_s: float) -> int:
        """Forget whole hours that ended before ``before_s``. Return how many."""
        ...
