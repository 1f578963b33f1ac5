"""The store for tests and for trying things out: a dictionary, gone with the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.clock import tick_at, tick_start
from outrider.samples import Row, Window
from outrider.store import rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from outrider.samples import Values


class MemoryStore:
    """Keeps rows in this process. Implements :class:`outrider.store.base.SeriesStore`."""

    def __init__(self, *, interval_s: float = 10.0) -> None:
        self.interval_s = interval_s
        self._rows: dict[str, dict[float, dict[str, float]]] = {}

    def append(self, host: str, tick: int, values: Values) -> bool:
        """Keep a row unless the tick has one."""
        kept = self._rows.setdefault(host, {})
        at_s = tick_start(tick, self.interval_s)
        if at_s in kept:
            return False
        kept[at_s] = {name: float(value) for name, value in values.items()}
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

    def seal(self, host: str, now_s: float) -> int:
        """Do nothing: memory is not compressed."""
        del host, now_s
        return 0

    def expire(self, host: str, before_s: float) -> int:
        """Forget hours that ended before ``before_s``."""
        kept = self._rows.get(host, {})
        old = [at_s for at_s in kept if (at_s // 3600 + 1) * 3600 <= before_s]
        for at_s in old:
            del kept[at_s]
        return len({at_s // 3600 for at_s in old})
