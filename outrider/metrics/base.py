"""What a collector is: it returns named values when asked, and never blocks for long."""

from __future__ import annotations

from typing import Protocol


class Collector(Protocol):
    """Returns one part of a row. Keeps what it needs to turn totals into shares."""

    def collect(self, now_s: float) -> dict[str, float]:
        """Return values by series name. A part that can't be read is left out, not invented."""
        ...
