"""What could not be read: counted, and said once for each piece, so that a log is not flooded."""

from __future__ import annotations

import logging

logger = logging.getLogger("outrider.store")
_SAID_KEPT = 1000


class Damage:
    """Counts damaged rows, columns and pieces."""

    def __init__(self) -> None:
        self.count = 0
        self._said: set[str] = set()

    def note(self, piece: str, what: object, count: int = 1) -> None:
        """Count something that is skipped; the first of a piece is logged."""
        if not count:
            return
        self.count += count
        if piece not in self._said:
            if len(self._said) >= _SAID_KEPT:
                self._said = set()
            self._said.add(piece)
            logger.error("piece %s: %s; skipped, what else it holds is read.", piece, what)
