"""What the instrumentation found wrong in this process: told once in the log, kept with a count."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("outrider.database")

Kind = Literal["leak", "external_call", "n_plus_one"]
# Each is told again after this long, in case nobody read it.
TELL_EVERY_S = 600.0
MOST = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at one place; ``text`` is of the last time, ``count`` of all."""

    kind: Kind
    text: str
    count: int
    at_s: float


class Findings:
    """The faults of one process, bounded. Safe with threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[Kind, object], tuple[Finding, float]] = {}
        self.counts: dict[Kind, int] = {"leak": 0, "external_call": 0, "n_plus_one": 0}

    def add(self, kind: Kind, key: object, text: Callable[[], str]) -> None:
        """Count a fault of a place; when it is due, ask for its text and log it."""
        now_s = time.time()
        with self._lock:
            self.counts[kind] += 1
            known = self._kept.get((kind, key))
            if known is None and len(self._kept) >= MOST:
                return
            due = known is None or now_s - known[1] >= TELL_EVERY_S
            old = known[0] if known else None
            said = text() if due or old is None else old.text
            told_s = now_s if due or known is None else known[1]
            finding = Finding(kind, said, (old.count if old else 0) + 1, now_s)
            self._kept[kind, key] = finding, told_s
        if due:
            logger.warning("%s", said)

    def all(self) -> list[Finding]:
        """Return them, those that happened most often first."""
        with self._lock:
            kept = [finding for finding, _ in self._kept.values()]
        return sorted(kept, key=lambda finding: -finding.count)
