"""What a store of series can do. Every implementation passes ``tests/contracts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from outrider.samples import Row, Values, Window


class SeriesStore(Protocol):
    """Rows of named values, one a host and tick.

    Times are seconds since 1970. Ranges include their start and exclude their end. A row is
    written once, the first delivery wins, unless it is to replace the one that is there.

    Rows are sealed by ranges (about sixty ticks, at least five minutes), ranges are merged into
    chunks: ``outrider.store.spans`` says how long these are.
    """

    interval_s: float
    refused: int

    def append(self, host: str, tick: int, values: Values, *, replace: bool = False) -> bool:
        """Keep a row. Return False, and change nothing, when that tick has one already.

        With ``replace`` the row takes the place of one that is there, sealed or not: no series of
        the old one is left. NaN, infinities and -0.0 come back as they went in. An empty row
        counts as a row. A row of a range that was forgotten is refused: False, and counted.

        Raises:
            BadArgument: a value is no number.
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

    def seal(
        self,
        host: str,
        now_s: float,
        *,
        before_commit: Callable[[float, float], object] | None = None,
    ) -> int:
        """Compress ranges and chunks that are over. Return how many. Safe to repeat.

        ``before_commit(start_s, end_s)`` is called before each is put in place, with the time that
        it covers, whole ranges at least; it may be called again for the same time. If it raises,
        that one is not put in place, and the error passes.
        """
        ...

    def expire(self, host: str, before_s: float) -> int:
        """Forget whole ranges and chunks that ended by ``before_s``. Return how many."""
        ...
