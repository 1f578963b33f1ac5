"""Joins what several collectors found into one row, so that one that fails costs only its own part.

A collector that raises is a fault of ours, or a machine that does what nobody thought of. Its part
of the row is missing then, ``collector.NAME.up`` is 0 and ``collector.errors_total`` grows; the log
tells why, once until it is mended. ``collector.duration_s`` is what all of it took, waiting too.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Part = Callable[[], Mapping[str, float]]

logger = logging.getLogger(__name__)


class Gatherer:
    """Remembers which collectors fail. Not for two threads at once."""

    def __init__(
        self,
        *,
        fatal: tuple[type[Exception], ...] = (),
        perf: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._fatal = fatal
        self._perf = perf
        self._failing: set[str] = set()
        self._errors = 0

    def row(self, parts: Mapping[str, Part]) -> dict[str, float]:
        """Return the values of all parts; of two of one name, the later part's counts.

        Raises what is ``fatal``: there is no row then, nor anywhere to keep it.
        """
        started_s = self._perf()
        values: dict[str, float] = {}
        own: dict[str, float] = {}
        for name, part in parts.items():
            try:
                values |= part()
            except self._fatal:
                raise
            except Exception:
                self._errors += 1
                if name not in self._failing:
                    logger.exception("collector %s fails; its part of the row is missing", name)
                self._failing.add(name)
                own[f"collector.{name}.up"] = 0.0
                continue
            if name in self._failing:
                logger.info("collector %s works again", name)
                self._failing.discard(name)
            own[f"collector.{name}.up"] = 1.0
        own["collector.errors_total"] = float(self._errors)
        own["collector.duration_s"] = round(self._perf() - started_s, 3)
        return values | own
