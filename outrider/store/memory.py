"""The store for tests and for trying things out: a dictionary, gone with the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.clock import tick_at, tick_start
from outrider.samples import Row, Window
from outrider.store import rows, spans

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from outrider.samples import Values


class MemoryStore:
    """Keeps rows in this process. Implements :class:`outrider.store.base.SeriesStore`.

    Nothing is compressed, but ranges are sealed, merged and forgotten when they would be in Redis.
    """

    def __init__(self, *, interval_s: float = 10.0) -> None:
        self.interval_s = interval_s
        self.refused = 0
        self._rows: dict[str, dict[float, dict[str, float]]] = {}
        self._pieces: dict[str, set[spans.Piece]] = {}
        self._forgotten: dict[str, float] = {}

    def append(self, host: str, tick: int, values: Values, *, replace: bool = False) -> bool:
        """Keep a row unless the tick has one, or in its place."""
        kept = self._rows.setdefault(host, {})
        at_s = tick_start(tick, self.interval_s)
        if at_s in kept and not replace:
            return False
        head = spans.piece(spans.HEAD, tick, self.interval_s)
        if head.end_s <= self._forgotten.get(host, float("-inf")):
            self.refused += 1
            return False
        rows.pack(b"", values)  # refuses what is no number
        kept[at_s] = {name: float(value) for name, value in values.items()}
        self._pieces.setdefault(host, set()).add(head)
        return True

    def read(
        self, host: str, series: str, start_s: float, end_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(times_s, values)`` of one series."""
        return rows.series_of(self.window(host, start_s, end_s), series)

    def window(self, host: str, start_s: float, end_s: float) -> Window:
        """Return all series of a host side by side."""
        packed, schemas = [], {}
        for at_s, row in self._rows.get(host, {}).items():
            if start_s <= at_s < end_s:
                schema_id, _ = rows.schema_of(row)
                schemas[schema_id] = tuple(row)
                packed.append((at_s, rows.pack(schema_id, row)))
        return rows.to_window(packed, schemas)

    def ticks(self, host: str, start_s: float, end_s: float) -> list[int]:
        """Return the ticks that have a row."""
        return [
            tick_at(at_s + self.interval_s / 2, self.interval_s)
            for at_s in sorted(self._rows.get(host, {}))
            if start_s <= at_s < end_s
        ]

    def last(self, host: str) -> Row | None:
        """Return the newest row."""
        kept = self._rows.get(host)
        return Row(host, max(kept), dict(kept[max(kept)])) if kept else None

    def hosts(self) -> list[str]:
        """Return the hosts that have rows."""
        return sorted(host for host, kept in self._rows.items() if kept)

    def seal(
        self,
        host: str,
        now_s: float,
        *,
        before_commit: Callable[[float, float], object] | None = None,
    ) -> int:
        """Say what would be compressed, and call ``before_commit`` for it."""
        made = 0
        pieces = self._pieces.get(host, set())
        for step in spans.plan(sorted(pieces, key=lambda piece: piece.first), now_s):
            if before_commit is not None:
                before_commit(*step.covers_s)
            pieces.difference_update(step.sources)
            pieces.add(step.target)
            made += 1
        return made

    def expire(self, host: str, before_s: float) -> int:
        """Forget ranges and chunks that ended by ``before_s``."""
        pieces, kept = self._pieces.get(host, set()), self._rows.get(host, {})
        old = {piece for piece in pieces if piece.end_s <= before_s}
        pieces -= old
        for at_s in [at_s for at_s in kept if not any(_covers(piece, at_s) for piece in pieces)]:
            del kept[at_s]
        self._forgotten[host] = max(before_s, self._forgotten.get(host, before_s))
        if not pieces:
            del self._forgotten[host]
        return len(old)


def _covers(piece: spans.Piece, at_s: float) -> bool:
    return piece.start_s <= at_s < piece.end_s
